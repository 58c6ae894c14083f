"""STOW-RS: `POST /studies[/{uid}]` (PS3.18 section 10.5), instances in, what became of each out."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool

from services.backends.audit_spool import AuditSpool
from services.gateway.access.caller import LOCAL, caller_of
from services.gateway.audit.importing import Imports
from services.gateway.intake import Intake, too_large
from services.gateway.multipart import MEDIA_TYPE, MalformedBody, Part, PartReader
from services.gateway.problems import TOLD, ProblemError, documented
from services.gateway.reception import Reception
from services.gateway.tenant_paths import of_path
from services.triage.audit import AuditActor
from services.triage.errors import InstanceRefused, OutOfResources
from services.triage.ports import StudyFiles
from services.triage.study import Instance

log = structlog.get_logger(__name__)

DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
RETRY_AFTER_S = 30
_OUT_OF_RESOURCES = 0xA700
_UID = re.compile(r"[0-9.]{1,64}")
_OUTCOMES = {200: "All stored.", 202: "Some stored.", 409: "None stored.", 503: "No space is left."}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    **{status: {"description": text, "content": {DICOM_JSON: {}}} for status, text in _OUTCOMES.items()},
    413: {
        "description": "None stored: too large. Or too many: the first may be kept.",
        "content": {DICOM_JSON: {}, **TOLD},
    },
    **documented(s400="The request cannot be understood.", s415="Only application/dicom is taken."),
}
_BODY = {
    "description": "Instances (PS3.10), one in each part; each part says Content-Type: application/dicom.",
    "required": True,
    "content": {f'{MEDIA_TYPE}; type="{DICOM}"': {"schema": {"type": "string", "format": "binary"}}},
}
_RETRIEVE_URL, _FAILED, _REFERENCED, _OTHER_FAILURES = "00081190", "00081198", "00081199", "0008119A"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sender:
    """Who sends a request: an address, and by a study its tenant; with the spans of what it brings."""

    address: str
    tenant_of: Callable[[str], str]
    reception: Reception


@dataclass(kw_only=True)
class Outcome:
    """What became of the instances of one request."""

    stored: list[Instance] = field(default_factory=list)
    failed: list[tuple[Instance, int]] = field(default_factory=list)
    not_understood: list[tuple[str, int]] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The HTTP status (PS3.18 table 10.5.3-1)."""
        if not self.failed and not self.not_understood:
            return 200
        if self.stored:
            return 202
        if any(code == "too_large" for code, _ in self.not_understood):
            return 413
        return 503 if any(reason == _OUT_OF_RESOURCES for _, reason in self.failed) else 409

    def dicom_json(self) -> dict[str, Any]:
        """The Store Instances Response Module (PS3.18 table 10.5.3-2)."""
        answer: dict[str, Any] = {_RETRIEVE_URL: {"vr": "UR"}}
        if self.stored:
            answer[_REFERENCED] = {"vr": "SQ", "Value": [_reference(instance) for instance in self.stored]}
        if self.failed:
            items = [_reference(instance) | _failure_reason(reason) for instance, reason in self.failed]
            answer[_FAILED] = {"vr": "SQ", "Value": items}
        if self.not_understood:
            items = [_failure_reason(reason) for _, reason in self.not_understood]
            answer[_OTHER_FAILURES] = {"vr": "SQ", "Value": items}
        return answer


def stow_router(
    files: StudyFiles,
    *,
    max_instance_bytes: int,
    max_parts: int,
    audit: AuditSpool,
    ae_title: str,
    whose: Callable[[Request], Callable[[str], str]] = of_path,
) -> APIRouter:
    """The routes of STOW-RS on these files. max_parts: instances in one request. whose: for a request, see `Sender`."""
    router = APIRouter(tags=["dicomweb"])
    intake = Intake(files=files, max_instance_bytes=max_instance_bytes)

    async def taken(request: Request, study_instance_uid: str | None) -> Response:
        sender, imports = _sender(request, whose), _imports(audit, ae_title, request)
        outcome = await _store(
            request, sender, intake, imports, study_instance_uid=study_instance_uid, max_parts=max_parts
        )
        return _answer(outcome)

    @router.post(
        "/studies",
        summary="Store instances (STOW-RS)",
        response_class=Response,
        responses=_ANSWERS,
        openapi_extra={"requestBody": _BODY},
    )
    async def store(request: Request) -> Response:
        """Keep the instances of a multipart/related body; success only once they are on disk."""
        return await taken(request, study_instance_uid=None)

    @router.post(
        "/studies/{study}",
        summary="Store instances of one study",
        response_class=Response,
        responses=_ANSWERS,
        openapi_extra={"requestBody": _BODY},
    )
    async def store_in_study(request: Request, study: str) -> Response:
        """The same, for instances of this study only; others are refused one by one."""
        if not _UID.fullmatch(study):
            raise _bad_request("invalid_uid", "The Study Instance UID is not made of digits and dots, at most 64.")
        return await taken(request, study_instance_uid=study)

    return router


def _sender(request: Request, whose: Callable[[Request], Callable[[str], str]]) -> Sender:
    return Sender(
        address=request.client.host if request.client else "unknown",
        tenant_of=whose(request),
        reception=Reception("STOW-RS", caller=request.headers.get("traceparent")),
    )


async def _store(
    request: Request,
    sender: Sender,
    intake: Intake,
    imports: Imports,
    *,
    study_instance_uid: str | None,
    max_parts: int,
) -> Outcome:
    reader = PartReader(_boundary(request), max_part_bytes=intake.max_instance_bytes)
    sender.reception.begin()
    outcome, parts = Outcome(), 0
    try:
        async for chunk in request.stream():
            for part in reader.feed(chunk):
                parts += 1
                if parts > max_parts:
                    raise _too_many_parts(max_parts)
                await run_in_threadpool(_take, part, intake, sender, study_instance_uid, outcome, imports)
    except MalformedBody as error:
        raise _bad_request("malformed_body", str(error)) from error
    finally:
        sender.reception.end()
        # not awaited: a request that was cut off has no time left to wait
        imports.end(whole=reader.complete)
    if not reader.complete or not parts:
        raise _bad_request("malformed_body", "The body ends before its closing boundary, or holds no part.")
    return outcome


def _imports(spool: AuditSpool, ae_title: str, request: Request) -> Imports:
    caller, address = caller_of(request), request.client.host if request.client else "unknown"
    name = address if caller is None or caller is LOCAL else caller.name
    source = AuditActor(name=name, address=address)
    return Imports(spool, source=source, destination=ae_title, way="STOW-RS")


def _take(
    part: Part,
    intake: Intake,
    sender: Sender,
    study_instance_uid: str | None,
    outcome: Outcome,
    imports: Imports,
) -> None:
    """Keep one part, and note what became of it."""
    received_from = sender.address
    content = bytes(part.content)
    try:
        if part.too_large:
            raise too_large(intake.max_instance_bytes)
        instance = intake.understand(content, received_from=received_from)
    except InstanceRefused as refusal:
        outcome.not_understood.append((refusal.reason.code, refusal.status))
        imports.failed(None, refusal.reason.code)
        return
    try:
        tenant = sender.tenant_of(instance.header.study_instance_uid)
        imports.begins(instance)
        intake.keep(
            content,
            instance,
            received_from=received_from,
            reception=sender.reception,
            tenant=tenant,
            study_instance_uid=study_instance_uid,
        )
    except InstanceRefused as refusal:
        outcome.failed.append((instance, refusal.status))
        imports.failed(instance, refusal.reason.code)
    except OutOfResources as error:
        log.warning("out_of_resources", received_from=received_from, error=str(error))
        outcome.failed.append((instance, _OUT_OF_RESOURCES))
        imports.failed(instance, error.reason.code)
    else:
        outcome.stored.append(instance)
        imports.kept(instance)


def _boundary(request: Request) -> bytes:
    media_type, options = parse_options_header(request.headers.get("content-type"))
    wanted = options.get(b"type", DICOM.encode()).lower()
    if media_type.lower() != MEDIA_TYPE.encode() or wanted != DICOM.encode():
        raise ProblemError(
            415,
            "unsupported_media_type",
            "Unsupported media type",
            detail="Only binary instances are taken.",
            way_out=f'Send Content-Type: {MEDIA_TYPE}; type="{DICOM}"; boundary=...',
        )
    if not options.get(b"boundary"):
        raise _bad_request("malformed_body", "The Content-Type has no boundary.")
    return options[b"boundary"]


def _too_many_parts(most: int) -> ProblemError:
    return ProblemError(
        413,
        "too_many_parts",
        "Too many instances",
        detail=f"A request has {most} instances at most. The first {most} of this one were taken, and may be kept.",
        way_out="Send the instances again in smaller requests; what was kept is not kept twice. VIGIE_MAX_STOW_PARTS "
        "is the limit.",
    )


def _bad_request(code: str, detail: str) -> ProblemError:
    return ProblemError(
        400, code, "Bad request", detail=detail, way_out="See PS3.18 section 10.5 for the form of a STOW-RS request."
    )


def _answer(outcome: Outcome) -> Response:
    headers = {"Retry-After": str(RETRY_AFTER_S)} if outcome.status == 503 else None
    return JSONResponse(outcome.dicom_json(), outcome.status, headers, DICOM_JSON)


def _reference(instance: Instance) -> dict[str, Any]:
    return {
        "00081150": {"vr": "UI", "Value": [instance.header.sop_class_uid]},
        "00081155": {"vr": "UI", "Value": [instance.header.sop_instance_uid]},
    }


def _failure_reason(reason: int) -> dict[str, Any]:
    return {"00081197": {"vr": "US", "Value": [reason]}}
