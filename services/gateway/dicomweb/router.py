"""The paths of QIDO-RS and WADO-RS (PS3.18 10.1.1, 10.4.1, 10.6.1), below /dicom-web."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from services.gateway.desk import Desk, TheDesk
from services.gateway.dicomweb.levels import Level
from services.gateway.dicomweb.resource import ROOT
from services.gateway.dicomweb.retrieve import bulk, frames, metadata, rendered, retrieve
from services.gateway.dicomweb.search import parameters, search
from services.gateway.problems import Problem

_STUDY = "/studies/{study}"
_SERIES = _STUDY + "/series/{series}"
_INSTANCE = _SERIES + "/instances/{instance}"

_SEARCHES = {
    "/studies": (Level.STUDY, "Search for studies"),
    "/series": (Level.SERIES, "Search for series"),
    "/instances": (Level.INSTANCE, "Search for instances"),
    f"{_STUDY}/series": (Level.SERIES, "Search for series of a study"),
    f"{_STUDY}/instances": (Level.INSTANCE, "Search for instances of a study"),
    f"{_SERIES}/instances": (Level.INSTANCE, "Search for instances of a series"),
}
_RETRIEVALS: dict[str, tuple[Callable[[Request, Desk], Response], str]] = {
    _STUDY: (retrieve, "All instances of a study"),
    _SERIES: (retrieve, "All instances of a series"),
    _INSTANCE: (retrieve, "An instance"),
    f"{_STUDY}/metadata": (metadata, "The attributes of all instances of a study"),
    f"{_SERIES}/metadata": (metadata, "The attributes of all instances of a series"),
    f"{_INSTANCE}/metadata": (metadata, "The attributes of an instance"),
    f"{_SERIES}/rendered": (rendered, "A series as one picture: of its middle instance"),
    f"{_INSTANCE}/rendered": (rendered, "An instance as a picture: its first frame"),
    f"{_INSTANCE}/frames/{{frames}}": (frames, "Frames of an instance"),
    f"{_INSTANCE}/frames/{{frames}}/rendered": (rendered, "A frame as a picture"),
    f"{_INSTANCE}/bulkdata/{{place:path}}": (bulk, "A binary value, by its BulkDataURI"),
}
_ANSWERS: dict[Callable[..., Response], list[str]] = {
    search: ["application/dicom+json"],
    retrieve: ["multipart/related", "application/dicom"],
    metadata: ["application/dicom+json"],
    frames: ["multipart/related", "application/octet-stream"],
    bulk: ["multipart/related", "application/octet-stream"],
    rendered: ["image/jpeg", "image/png"],
}
_PROBLEMS: dict[int | str, str] = {
    400: "The path or the query cannot be understood.",
    404: "Nothing of the kind was kept.",
    406: "It cannot be had in a media type and transfer syntax that the request accepts; the way out says in which.",
    413: "The search is too broad.",
    503: "The store does not answer; see Retry-After.",
}


def dicomweb_router() -> APIRouter:
    """The routes; each reads the store and the files of the application's desk."""
    router = APIRouter(prefix=ROOT, tags=["dicomweb"])
    for path, (level, summary) in _SEARCHES.items():
        _add(router, path, summary, partial(search, level=level), media_types=_ANSWERS[search], query=parameters())
    for path, (answer, summary) in _RETRIEVALS.items():
        _add(router, path, summary, answer, media_types=_ANSWERS[answer], query=[])
    return router


def _add(
    router: APIRouter,
    path: str,
    summary: str,
    answer: Callable[[Request, Desk], Response],
    *,
    media_types: Sequence[str],
    query: list[dict[str, Any]],
) -> None:
    def endpoint(request: Request, desk: TheDesk) -> Response:
        return answer(request, desk)

    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)", path)
    ]
    problem = {"application/problem+json": {"schema": Problem.model_json_schema()}}
    answers: dict[int | str, dict[str, Any]] = {
        200: {"description": "As negotiated.", "content": {each: {} for each in media_types}}
    }
    answers.update((code, {"description": text, "content": problem}) for code, text in _PROBLEMS.items())
    router.add_api_route(
        path,
        endpoint,
        name="dicomweb",
        summary=summary,
        response_class=Response,
        responses=answers,
        openapi_extra={"parameters": in_path + query},
    )
