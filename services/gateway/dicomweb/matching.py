"""Attribute matching (PS3.4 C.2.2.2) on values in the DICOM JSON Model. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import translate
from functools import lru_cache
from typing import Any

from services.backends.person_name import is_like
from services.gateway.dicomweb.json_model import DicomJson, Element

_DATES_AND_TIMES = frozenset({"DA", "DT", "TM"})
_NUMBERS = frozenset({"DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"})
_WITHOUT_WILDCARDS = _DATES_AND_TIMES | _NUMBERS | {"AT", "UI"}


def elements(dataset: DicomJson, path: Sequence[str]) -> Iterator[Element]:
    """What lies at a path of tags, in every item of the sequences on the way."""
    element = dataset.get(path[0])
    if element is None:
        return
    if len(path) == 1:
        yield element
        return
    for item in element.get("Value", []):
        if isinstance(item, dict):
            yield from elements(item, path[1:])


def matches(element: Element, key: str, *, fuzzy: bool = False) -> bool:
    """Whether any value of the element matches the key: a universal, single value, list, range or wildcard one.

    Case counts, but for PN. A list is UIDs or code strings (CS), separated by commas or backslashes. fuzzy: a name
    (PN) that is like the key (`person_name`) matches as well.
    """
    if key in ("", "*"):
        return True
    vr = element["vr"]
    if fuzzy and vr == "PN" and any(is_like(" ".join(_texts(value)), key) for value in element.get("Value", [])):
        return True
    values = [text for value in element.get("Value", []) for text in _texts(value)]
    if vr in ("UI", "CS"):
        return any(_matches_one(vr, value, each.strip()) for each in re.split(r"[,\\]", key) for value in values)
    if vr == "PN" and "=" in key:
        return any(_matches_by_group(value, key) for value in element.get("Value", []) if isinstance(value, dict))
    return any(_matches_one(vr, value, key) for value in values)


def as_list(key: str) -> list[str]:
    """The values of a key that may be a list; none where it matches everything."""
    return [] if key in ("", "*") else [each.strip() for each in re.split(r"[,\\]", key) if each.strip()]


def has_wildcard(key: str) -> bool:
    """Whether it holds * or ?."""
    return "*" in key or "?" in key


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):  # PN: its groups are matched one by one
        yield from (group.rstrip("^ ") for group in value.values() if group)
    elif value is not None:
        yield str(value).strip()


def _matches_one(vr: str, value: str, key: str) -> bool:
    if vr in _DATES_AND_TIMES:
        return _in_range(vr, value, key)
    if vr in _NUMBERS:
        return _number(value) == _number(key)
    if vr in _WITHOUT_WILDCARDS:
        return value == key
    if vr == "PN":
        return _pattern(key.rstrip("^ ").lower()).fullmatch(value.lower()) is not None
    return _pattern(key.strip()).fullmatch(value) is not None


def _matches_by_group(name: Mapping[str, Any], key: str) -> bool:
    """A key of several groups, of which an empty one matches all: each against its own (PS3.5 6.2.1.1).

    No name has more than three.
    """
    told = key.split("=")
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), told, strict=False)
    found = ((str(name.get(group, "")).rstrip("^ "), each) for group, each in groups if each)
    return len(told) <= 3 and all(_matches_one("PN", value, each) for value, each in found)


def _in_range(vr: str, value: str, key: str) -> bool:
    """A range includes both ends; a time that is told less exactly includes all of its hour, minute or second."""
    first, dash, last = key.partition("-")
    value, first, last = map(_plain_time, (value, first, last))
    if not dash:
        return value == first
    return first <= value and (not last or value <= last or (vr != "DA" and value.startswith(last)))


def _plain_time(text: str) -> str:
    """Without colons (ACR-NEMA had them), and without the zeros at the end of a fraction."""
    digits = text.replace(":", "")
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


@lru_cache(maxsize=256)
def _pattern(key: str) -> re.Pattern[str]:
    return re.compile(translate(key.replace("[", "[[]")))  # to DICOM a bracket is a character like others
