"""What a request about a workitem says: its UID, its Transaction UID, its data set (PS3.18 11.6 to 11.8)."""

import json
import re
from typing import Any

from fastapi import Request
from pydicom import Dataset
from python_multipart.multipart import parse_options_header

from services.backends.files.pixels import UNREADABLE
from services.gateway.dicomweb.json_model import DicomJson, dicom_json
from services.gateway.dicomweb.negotiate import DICOM_JSON, JSON
from services.gateway.dicomweb.resource import bad_request
from services.gateway.problems import ProblemError

TRANSACTION_UID = "00081195"
_UID = re.compile(r"[0-9.]{1,64}")
_SEE = "See PS3.18 section 11 and docs/conformance.md, UPS-RS."


def workitem_uid(request: Request) -> str:
    """Of the path. Raises ProblemError (400)."""
    return _uid(str(request.path_params["workitem"]), "The UID of the workitem")


async def data_set(request: Request) -> DicomJson:
    """The one data set of the body, bare or as the one member of an array. Raises ProblemError (400, 415)."""
    return _data_set(request, await request.body())


async def data_set_or_none(request: Request) -> DicomJson:
    """The same where there is a body; else an empty one."""
    content = await request.body()
    return _data_set(request, content) if content.strip() else {}


def transaction_uid(request: Request, told: DicomJson) -> str:
    """`?transaction-uid=1.2.3` or bare `?1.2.3` (PS3.18 11.6.1), else (0008,1195) of the data set; '' without one.

    Other parameters (`tenant`, `accept`) are none of a workitem's.

    Raises ProblemError (400).
    """
    query = request.query_params
    bare = next((name for name, value in query.items() if not value and _UID.fullmatch(name)), "")
    given = query.get("transaction-uid") or bare or text(told, TRANSACTION_UID)
    return _uid(given, "The Transaction UID") if given else ""


def text(told: DicomJson, tag: str) -> str:
    """The first value of an attribute as text, '' where it has none."""
    values = told.get(tag, {}).get("Value") or [""]
    return str(values[0] if values[0] is not None else "")


def _data_set(request: Request, content: bytes) -> DicomJson:
    media_type, _ = parse_options_header(request.headers.get("content-type"))
    if media_type.decode("latin-1").lower() not in (DICOM_JSON, JSON):
        raise ProblemError(
            415,
            "unsupported_media_type",
            "Unsupported media type",
            detail="Data sets are taken in the DICOM JSON Model only.",
            way_out=f"Send Content-Type: {DICOM_JSON}",
        )
    return _understood(content)


def _understood(content: bytes) -> DicomJson:
    try:
        found: Any = json.loads(content)
        (one,) = found if isinstance(found, list) else (found,)
        return dicom_json(Dataset.from_json(one))
    except (*UNREADABLE, RecursionError) as error:
        raise bad_request("malformed_data_set", "The body is no data set in the DICOM JSON Model.", _SEE) from error


def _uid(given: str, what: str) -> str:
    if not _UID.fullmatch(given):
        raise bad_request("invalid_uid", f"{what} is not made of digits and dots, at most 64.", _SEE)
    return given
