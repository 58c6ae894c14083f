"""What was searched for, and what was refused, as events of the audit trail."""

from collections.abc import Mapping
from urllib.parse import urlencode

from starlette.requests import Request

from services.gateway.access import outcomes
from services.gateway.access.caller import caller_of
from services.gateway.access.rules import rule_for
from services.gateway.access.sign_in import address_of
from services.gateway.audit.recorder import Recorder
from services.triage.audit import AuditActor, AuditObject, AuditObjectKind, AuditOutcome
from services.triage.audit_types import AuditType, audited


def asker(request: Request) -> AuditActor:
    """Who asks, and from where."""
    caller = caller_of(request)
    return AuditActor(name=caller.name if caller else outcomes.UNKNOWN, address=address_of(request))


def query_made(recorder: Recorder, type_: AuditType, request: Request, form: Mapping[str, str] | None = None) -> None:
    """Told by its keys and a keyed digest: the values may name a patient. Once in a window for the same question."""
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


def refused(recorder: Recorder, request: Request, reason: str, *, study: str = "") -> None:
    """By the path of its rule: what was asked for may be anything. study: one that is here. Once in a window."""
    rule = rule_for(request.method, request.url.path)
    path = f"{request.method} {rule.path}" if rule else "another path"
    who = asker(request)
    objects = [AuditObject(kind=AuditObjectKind.ADDRESS, object_id=path)]
    if study:
        objects.append(AuditObject(kind=AuditObjectKind.STUDY, object_id=study))
    event = audited(
        AuditType.ACCESS_REFUSED, who, objects=tuple(objects), outcome=AuditOutcome.SERIOUS_FAILURE, reason=reason
    )
    recorder.once(event, who.name, who.address, path, reason, study)
