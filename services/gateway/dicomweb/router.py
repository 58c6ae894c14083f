"""The paths of QIDO-RS and WADO-RS (PS3.18 10.1.1, 10.4.1, 10.6.1), below the root."""

from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import APIRouter, Response

from services.gateway.desk import Desk, the_desk
from services.gateway.dicomweb.levels import Level
from services.gateway.dicomweb.negotiate import DICOM, DICOM_JSON, JPEG, MULTIPART, OCTET_STREAM, PNG
from services.gateway.dicomweb.query import PAGE_LIMIT
from services.gateway.dicomweb.retrieve import bulk, frames, metadata, rendered, retrieve
from services.gateway.dicomweb.route import Answer, add_read, described
from services.gateway.dicomweb.search import search

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
_RETRIEVALS: dict[str, tuple[Answer, str]] = {
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
_MEDIA_TYPES: dict[Callable[..., Response], list[str]] = {
    search: [DICOM_JSON],
    retrieve: [MULTIPART, DICOM],
    metadata: [DICOM_JSON],
    frames: [MULTIPART, OCTET_STREAM],
    bulk: [MULTIPART, OCTET_STREAM],
    rendered: [JPEG, PNG],
}
_PARAMETERS: dict[Callable[..., Response], dict[str, str]] = {
    search: {
        "limit": f"Matches in one answer; at most {PAGE_LIMIT}, which is the default.",
        "offset": "How many matches to leave out: those of earlier pages.",
        "includefield": "Attributes to return beside the required ones: keywords or tags with commas between, or all.",
        "tenant": "Only studies of this tenant; every path is there below /t/{tenant}, too.",
        "fuzzymatching": "true: names that are spelled or sound alike match too.",
    },
    rendered: {
        "window": "center,width,function: linear, linear-exact or sigmoid. Default: as the header says.",
        "viewport": "width,height[,x,y,width,height] in pixels: the size, and the part of the image to show.",
        "quality": "Of JPEG, 1 to 100.",
    },
}
_PROBLEMS = {
    400: "The path or the query cannot be understood.",
    404: "Nothing of the kind was kept.",
    410: "Images that were kept here and are no longer (retention): retrieve them from the PACS.",
    406: "It cannot be had in a media type and transfer syntax that the request accepts; the way out says in which.",
    413: "The search is too broad.",
}


def dicomweb_router(desk_of: Callable[..., Desk] = the_desk) -> APIRouter:
    """The routes; each reads the store and the files of a desk, the application's unless another is told."""
    router = APIRouter(tags=["dicomweb"])
    for path, (level, summary) in _SEARCHES.items():
        about = _about(path, search, "Any attribute is a query parameter too, by keyword or tag.")
        add_read(router, path, partial(search, level=level), summary=summary, desk_of=desk_of, **about)
    for path, (answer, summary) in _RETRIEVALS.items():
        add_read(router, path, answer, summary=summary, desk_of=desk_of, **_about(path, answer))
    return router


def _about(path: str, answer: Callable[..., Response], description: str = "") -> dict[str, Any]:
    return described(
        path,
        media_types=_MEDIA_TYPES[answer],
        parameters=_PARAMETERS.get(answer),
        problems=_PROBLEMS,
        description=description,
    )
