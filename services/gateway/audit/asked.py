"""What was asked of the list or by a search, as an event: which keys, and a keyed digest of all that was asked."""

from collections.abc import Mapping
from urllib.parse import urlencode

from starlette.requests import Request

from services.gateway.access.caller import caller_of
from services.gateway.access.sign_in import address_of
from services.gateway.audit.recorder import Recorder
from services.triage.audit import AuditActor, AuditObject, AuditObjectKind
from services.triage.audit_types import AuditType, audited

_NOBODY = "unknown"


def asker(request: Request) -> AuditActor:
    """Who asks, and from where."""
    caller = caller_of(request)
    return AuditActor(name=caller.name if caller else _NOBODY, address=address_of(request))


def query_made(recorder: Recorder, type_: AuditType, request: Request, form: Mapping[str, str] | None = None) -> None:
    """Once in a window for the same question; of another one the digest differs. The values may name a patient."""
    path, form = request.url.path, form or {}
    names = sorted({*request.query_params, *form})
    asked = f"{path}?{request.url.query}" + (f"\n{urlencode(form)}" if form else "")
    told = {"keys": " ".join(names)} if names else {}
    digest = recorder.keyed(asked) if names else ""
    what = AuditObject(
        kind=AuditObjectKind.QUERY, object_id=path[:64], details={**told, "digest": digest} if digest else told
    )
    who = asker(request)
    recorder.once(audited(type_, who, objects=(what,)), who.name, f"query {path}", digest)
