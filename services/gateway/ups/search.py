"""Searching and retrieving workitems (PS3.18 11.5, 11.9)."""

import json
from collections.abc import Iterator
from itertools import count, islice

from fastapi import Request, Response

from services.backends.store.archive import StoredInstance, StudyFilter
from services.backends.store.workitems import Workitem, WorkitemFilter
from services.gateway.desk import Desk
from services.gateway.dicomweb.json_model import DicomJson
from services.gateway.dicomweb.levels import Level, tag_of
from services.gateway.dicomweb.matching import as_list, elements, matches
from services.gateway.dicomweb.negotiate import DICOM_JSON, JSON, require
from services.gateway.dicomweb.query import Query, parse
from services.gateway.dicomweb.root import root_url
from services.gateway.problems import ProblemError
from services.gateway.tenant_paths import asked_for
from services.gateway.ups.data_set import Source, workitem_json
from services.gateway.ups.request import workitem_uid
from services.triage.workitem import ProcedureStepState

PAGE_LIMIT = 200
"""At most so many workitems in one answer."""

_INPUTS = tag_of("InputInformationSequence")
_UID, _STATE, _STUDY = (tag_of(name) for name in ("SOPInstanceUID", "ProcedureStepState", "StudyInstanceUID"))
_ACCESSION = (tag_of("ReferencedRequestSequence"), tag_of("AccessionNumber"))
_OF_PATIENT = {tag_of("PatientName"): "patient_name", tag_of("PatientID"): "patient_id"}


def search(request: Request, desk: Desk) -> Response:
    """Answer a search: 200, 206 where more remain, 204 where nothing matches. Raises ProblemError (400, 406)."""
    media_type = require(request, DICOM_JSON, JSON)
    query = parse(Level.WORKITEM, request.query_params.multi_items(), page_limit=PAGE_LIMIT)
    source = _source(desk) if query.include_all or _INPUTS in query.include else None
    found = islice(_matches(request, desk, query, source), query.offset, query.offset + query.limit + 1)
    page = list(islice(found, query.limit))
    has_more = query.limit > 0 and next(found, None) is not None
    if not page:
        return Response(status_code=204)
    return Response(_json(page), 206 if has_more else 200, media_type=media_type)


def retrieve(request: Request, desk: Desk) -> Response:
    """One workitem. Raises ProblemError (400, 404, 406)."""
    media_type = require(request, DICOM_JSON, JSON)
    found = existing(request, desk)
    root = root_url(request)
    answer = workitem_json(found, root, _source(desk))
    return Response(_json([answer]), media_type=media_type, headers={"Content-Location": address(request, found.uid)})


def existing(request: Request, desk: Desk) -> Workitem:
    """The workitem of the path, if it is of a study that is asked for. Raises ProblemError (404)."""
    found = desk.store.workitems.get(workitem_uid(request), tenant=asked_for(request))
    if found is None:
        raise unknown_workitem()
    return found


def address(request: Request, uid: str) -> str:
    """Where a workitem is."""
    return f"{root_url(request)}/workitems/{uid}"


def unknown_workitem() -> ProblemError:
    """The answer to a UID that no workitem has."""
    return ProblemError(
        404,
        "unknown_workitem",
        "Unknown workitem",
        detail="There is no workitem of this UID (C307).",
        way_out="GET .../workitems?ProcedureStepState=SCHEDULED lists those that wait.",
    )


def _matches(request: Request, desk: Desk, query: Query, source: Source | None) -> Iterator[DicomJson]:
    narrowed, root = _narrowed(query, asked_for(request)), root_url(request)
    for offset in count(0, PAGE_LIMIT):
        some = desk.store.workitems.find(narrowed, limit=PAGE_LIMIT, offset=offset)
        for one in some:
            if _fits(one, query, root):
                yield workitem_json(one, root, source)
        if len(some) < PAGE_LIMIT:
            return


def _fits(one: Workitem, query: Query, root: str) -> bool:
    known = workitem_json(one, root, None)
    for key in query.keys:
        found = list(elements(known, key.path))
        if not (found or key.value.strip("*")):
            continue
        if not any(matches(element, key.value, fuzzy=query.fuzzy) for element in found):
            return False
    return True


def _narrowed(query: Query, tenant: str | None) -> WorkitemFilter:
    """What the store can leave out at once."""
    told = {key.path: key.value for key in query.keys}
    patterns = {name: told[(tag,)] for tag, name in _OF_PATIENT.items() if told.get((tag,))}
    if told.get(_ACCESSION):
        patterns["accession_number"] = told[_ACCESSION]
    states = as_list(told.get((_STATE,), ""))
    return WorkitemFilter(
        uids=as_list(told.get((_UID,), "")),
        states=[ProcedureStepState(each) for each in states] if set(states) <= set(ProcedureStepState) else [],
        of_study=StudyFilter(
            study_instance_uids=as_list(told.get((_STUDY,), "")),
            patterns=patterns,
            name_like=patterns.get("patient_name", "") if query.fuzzy else "",
            tenant=tenant,
        ),
    )


def _source(desk: Desk) -> Source:
    def images(study: str, series: str) -> list[StoredInstance]:
        return [one for one in desk.store.archive.instances(study, series) if not one.is_result]

    return images


def _json(found: list[DicomJson]) -> bytes:
    return json.dumps(found, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")
