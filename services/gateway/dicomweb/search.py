"""QIDO-RS (PS3.18 10.6): the database is searched; files are opened for what it does not hold.

One header is read for each match that is returned: that of the first instance of a study or series, or the instance's
own. None is read for what does not match, unless a key asks for an attribute that only files hold.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, groupby, islice

import structlog
from fastapi import Request, Response

from services.backends.store.archive import StoredInstance, StoredStudy
from services.gateway.desk import Desk
from services.gateway.dicomweb import attributes
from services.gateway.dicomweb.json_model import DicomJson, dicom_json, read_header
from services.gateway.dicomweb.levels import STUDY_TAGS, Level
from services.gateway.dicomweb.matching import elements, matches
from services.gateway.dicomweb.negotiate import DICOM_JSON, JSON, require
from services.gateway.dicomweb.query import Key, Query, parse
from services.gateway.dicomweb.resource import Resource, resource, url
from services.gateway.dicomweb.stored import stored_file
from services.gateway.problems import ProblemError

log = structlog.get_logger(__name__)

HEADERS_LIMIT = 20_000
"""A search that reads more headers than this is too broad."""

_STUDIES_AT_ONCE = 200


def search(request: Request, desk: Desk, level: Level) -> Response:
    """Answer a search. Raises ProblemError (400, 406, 413), StoreUnavailable."""
    media_type = require(request, DICOM_JSON, JSON)
    within = resource(request)
    query = parse(level, request.query_params.multi_items())
    found = islice(_Search(desk, query, within).matches(), query.offset, query.offset + query.limit + 1)
    page = [match.answer(request, query) for match in islice(found, query.limit)]
    has_more = query.limit > 0 and next(found, None) is not None
    return Response(
        json.dumps(page, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace"),
        media_type=media_type,
        headers=_warnings(has_more=has_more),
    )


@dataclass(kw_only=True)
class _Match:
    """A study, a series or an instance: what the store knows of it, and the file that has the rest."""

    search: "_Search"
    known: DicomJson
    study: str
    instance: StoredInstance | None = None
    _in_file: DicomJson | None = field(default=None, init=False)

    def fits(self, key: Key) -> bool:
        source = self.known if key.path[0] in self.known else self.in_file()
        found = list(elements(source, key.path))
        fuzzy = self.search.query.fuzzy
        return any(matches(element, key.value, fuzzy=fuzzy) for element in found) or not (found or key.value.strip("*"))

    def in_file(self) -> DicomJson:
        if self._in_file is None:
            one = self.instance or next(iter(self.search.desk.store.archive.instances(self.study)), None)
            # of a study whose images are not kept any more, and that has no results, what the store knows
            self._in_file = self.search.read(one) if one is not None else {}
        return self._in_file

    def answer(self, request: Request, query: Query) -> DicomJson:
        """The attributes to return, by tag."""
        everything = {**self.in_file(), **self.known, **attributes.available(self._url(request, query.level))}
        return {tag: everything[tag] for tag in sorted(everything) if self.search.is_wanted(tag)}

    def _url(self, request: Request, level: Level) -> str:
        if level is Level.STUDY or self.instance is None:
            return url(request, study=self.study)
        if level is Level.SERIES:
            return url(request, study=self.study, series=self.instance.series_instance_uid)
        return url(request, self.instance)


class _Search:
    """One search; it counts the headers that it reads."""

    def __init__(self, desk: Desk, query: Query, within: Resource) -> None:
        self.desk = desk
        self.query = query
        self._within = within
        self._headers = 0
        self._asked = {key.path[0] for key in query.keys} | query.include

    def is_wanted(self, tag: str) -> bool:
        """Whether it is asked for, or returned without."""
        return tag in self._asked or attributes.is_returned(tag, self.query, self._within)

    def matches(self) -> Iterator[_Match]:
        """All matches, always in the same order: studies by date, newest first, then by Series and Instance Number."""
        of_study = tuple(key for key in self.query.keys if key.path[0] in STUDY_TAGS)
        of_below = tuple(key for key in self.query.keys if key.path[0] not in STUDY_TAGS)
        for stored in self._studies():
            uid = stored.attributes.study_instance_uid
            study = _Match(search=self, known=attributes.of_study(stored), study=uid)
            if not _fits(study, of_study):
                continue
            below = [study] if self.query.level is Level.STUDY else self._below(study)
            yield from (match for match in below if _fits(match, of_below))

    def read(self, one: StoredInstance) -> DicomJson:
        """What is wanted of the header of a file."""
        self._headers += 1
        if self._headers > HEADERS_LIMIT:
            raise ProblemError(
                413,
                "search_too_broad",
                "The search is too broad",
                detail=f"More than {HEADERS_LIMIT} files would have to be read for it.",
                way_out="Narrow it by StudyDate, PatientID or a UID, or ask for smaller pages with limit and offset.",
            )
        try:
            with stored_file(self.desk, one).open() as file:
                return dicom_json(read_header(file), wanted=self.is_wanted)
        except ProblemError as error:
            # one bad file must not hide the others: what the store knows of it is answered
            log.warning("header_unread", code=error.problem.code)
            return {}

    def _studies(self) -> Iterator[StoredStudy]:
        narrowed = self.query.narrowed(self._within)
        at_once = min(self.query.limit + 1, _STUDIES_AT_ONCE)
        for offset in count(0, at_once):
            studies = self.desk.store.archive.studies(narrowed, limit=at_once, offset=offset)
            yield from studies
            if len(studies) < at_once:
                return

    def _below(self, study: _Match) -> Iterator[_Match]:
        stored = self.desk.store.archive.instances(study.study, self._within.series)
        for _, group in groupby(stored, key=lambda one: one.series_instance_uid):
            series = list(group)
            known = study.known | attributes.of_series(series)
            if self.query.level is Level.SERIES:
                yield _Match(search=self, known=known, study=study.study, instance=series[0])
                continue
            for one in series:
                yield _Match(search=self, known=known | attributes.of_instance(one), study=study.study, instance=one)


def _fits(match: _Match, keys: tuple[Key, ...]) -> bool:
    """What the store knows is looked at first: most candidates end there, and their files stay shut."""
    return all(match.fits(key) for key in sorted(keys, key=lambda key: key.path[0] not in match.known))


def _warnings(*, has_more: bool) -> dict[str, str]:
    """Warnings as PS3.18 8.3.4 and 10.6.3 have them."""
    return {"Warning": '299 vigie "There are additional results that can be requested."'} if has_more else {}
