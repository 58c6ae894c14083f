"""The query of a search (PS3.18 8.3.4, 10.6.1): keys to match, attributes to include, and the page."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.datadict import dictionary_has_tag, dictionary_VR

from services.backends.store.archive import StudyFilter
from services.gateway.dicomweb.levels import BELOW, Level, tag_of
from services.gateway.dicomweb.matching import as_list, has_wildcard
from services.gateway.dicomweb.resource import Resource, bad_request

PAGE_LIMIT = 2000
"""At most so many matches in one answer, a large CT series among them; the next page is asked for by `offset`."""

_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_DATES = re.compile(r"\*?|[0-9]{8}|[0-9]{8}-([0-9]{8})?|-[0-9]{8}")
_RESERVED = frozenset({"accept", "charset", "fuzzymatching", "includefield", "limit", "offset", "tenant"})


# The study attributes of the store that SQL can narrow by.
_PATTERNS = {
    "accession_number": tag_of("AccessionNumber"),
    "patient_id": tag_of("PatientID"),
    "patient_name": tag_of("PatientName"),
    "study_description": tag_of("StudyDescription"),
    "study_id": tag_of("StudyID"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """An attribute by its path of tags, and what it must match."""

    path: tuple[str, ...]
    value: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A search. `include`: tags to return beside the required ones; `include_all`: whatever there is at this level."""

    level: Level
    keys: tuple[Key, ...]
    include: frozenset[str]
    include_all: bool
    limit: int
    offset: int
    fuzzy: bool

    def narrowed(self, within: Resource) -> StudyFilter:
        """What the store can leave out at once."""
        told = {key.path[0]: key.value for key in self.keys if len(key.path) == 1}
        study = [within.study] if within.study else as_list(told.get(tag_of("StudyInstanceUID"), ""))
        modalities = as_list(told.get(tag_of("ModalitiesInStudy"), ""))
        return StudyFilter(
            study_instance_uids=study,
            # the store has no index by series: within known studies it would only cost
            series_instance_uids=[] if study else as_list(told.get(tag_of("SeriesInstanceUID"), "")),
            sop_instance_uids=as_list(told.get(tag_of("SOPInstanceUID"), "")),
            patterns={name: told[tag] for name, tag in _PATTERNS.items() if told.get(tag)},
            name_like=told.get(_PATTERNS["patient_name"], "") if self.fuzzy else "",
            dates=_dates(told.get(tag_of("StudyDate"), "")),
            modalities=[] if any(map(has_wildcard, modalities)) else modalities,
            tenant=within.tenant,
        )


def parse(level: Level, parameters: Sequence[tuple[str, str]], *, page_limit: int = PAGE_LIMIT) -> Query:
    """Of the parameters of a request, in their order. Raises ProblemError (400)."""
    reserved = {name: value for name, value in parameters if name in _RESERVED}
    fields = [name.strip() for key, value in parameters if key == "includefield" for name in value.split(",")]
    keys = tuple(
        Key(path=_path(name, f"Parameter {position}"), value=value.strip())
        for position, (name, value) in enumerate(parameters, start=1)
        if name not in _RESERVED
    )
    _check(level, keys)
    return Query(
        level=level,
        keys=keys,
        include=frozenset(_path(name, "A field of includefield")[0] for name in fields if name and name != "all"),
        include_all="all" in fields,
        limit=min(_count(reserved, "limit", page_limit), page_limit),
        offset=_count(reserved, "offset", 0),
        fuzzy=reserved.get("fuzzymatching", "false").lower() == "true",
    )


def _path(name: str, what: str) -> tuple[str, ...]:
    """Tags of a path such as 00100020, PatientID or RequestAttributesSequence.ScheduledProcedureStepID."""
    try:
        return tuple(each.upper() if _TAG.fullmatch(each) else tag_of(each) for each in name.split("."))
    except KeyError:
        raise bad_request(
            "unknown_attribute",
            f"{what} names no attribute.",
            "Name attributes by keyword (PatientID), by tag (00100020), or inside sequences with dots between them.",
        ) from None


def _check(level: Level, keys: Sequence[Key]) -> None:
    if any("\x00" in key.value for key in keys):
        raise bad_request("invalid_value", "A value holds a NUL, which no attribute does.")
    if any(_is_date(key.path[-1]) and not _DATES.fullmatch(key.value) for key in keys):
        raise bad_request("invalid_value", "A date is not YYYYMMDD, or a range of two (PS3.4 C.2.2.2.5).")
    paths = [key.path for key in keys]
    if len(set(paths)) < len(paths):
        raise bad_request("repeated_key", "An attribute is given more than once.")
    if any(key.path[0] in BELOW.get(level, ()) and key.value not in ("", "*") for key in keys):
        raise bad_request(
            "lower_level_key",
            f"A search for {level} level matches attributes of this level and of those above it.",
            "Search for /series or /instances; by ModalitiesInStudy for studies that hold a modality.",
        )


def _count(reserved: dict[str, str], name: str, default: int) -> int:
    text = reserved.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise bad_request("invalid_page", f"{name} is not a whole number from 0 on.")
    return int(text)


def _is_date(tag: str) -> bool:
    return dictionary_has_tag(tag) and dictionary_VR(tag) == "DA"


def _dates(key: str) -> tuple[str, str]:
    first, dash, last = key.strip("*").partition("-")
    return (first, last) if dash else (first, first)
