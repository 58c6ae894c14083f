"""What became of signing in and asking: each is told here, once, by whoever finds it, to the log and the audit trail.

way: `form` (name and key on the page), `key` (a header), `oidc` (the identity provider), `token` (its access token).
Names that are nobody's here are never told: what was typed may be a key in the wrong field. That somebody was refused
what they asked for is written into the trail by `audit.watching`, which sees every answer.
"""

import structlog

from services.gateway.audit.recorder import Recorder
from services.triage.audit import AuditActor, AuditOutcome
from services.triage.audit_types import AuditType, audited
from services.triage.person import Caller

log = structlog.get_logger(__name__)

UNKNOWN = "unknown"


def signed_in(recorder: Recorder, name: str, address: str, *, way: str) -> None:
    """A session began."""
    log.info("signed_in", name=name, address=address, way=way)
    recorder.record(audited(AuditType.SIGN_IN, AuditActor(name=name, address=address)))


def key_taken(recorder: Recorder, name: str, address: str) -> None:
    """A key or a token came with a request: once in a window."""
    recorder.once(audited(AuditType.SIGN_IN, AuditActor(name=name, address=address)), name, address)


def signed_out(recorder: Recorder, name: str, address: str) -> None:
    """A session was ended by its person."""
    log.info("signed_out", name=name, address=address)
    recorder.record(audited(AuditType.SIGN_OUT, AuditActor(name=name, address=address)))


def sign_in_failed(recorder: Recorder, name: str, address: str, *, way: str, reason: str) -> None:
    """Somebody did not show who they are, or is nobody here. reason: a code."""
    log.warning("sign_in_failed", name=name, address=address, way=way, reason=reason)
    actor = AuditActor(name=name, address=address)
    event = audited(AuditType.SIGN_IN, actor, outcome=AuditOutcome.MINOR_FAILURE, reason=reason)
    if name == UNKNOWN:  # anybody can try without end, and the trail is never shortened
        recorder.once(event, name, address, way, reason)
    else:
        recorder.record(event)


def sign_in_held_off(name: str, address: str, *, wait_s: int) -> None:
    """Somebody failed too often to be heard now."""
    log.warning("sign_in_held_off", name=name, address=address, wait_s=wait_s)


def refused(caller: Caller, address: str, *, method: str, rule: str) -> None:
    """Somebody who is known asked for what they may not. rule: its path; `no rule`."""
    log.warning("refused", name=caller.name, address=address, method=method, path=rule)


def cross_site_refused(name: str, address: str, *, method: str) -> None:
    """Another site's page asked for a change in somebody's browser. name: UNKNOWN where nobody is signed in."""
    log.warning("cross_site_refused", name=name, address=address, method=method)


def held_off(name: str, address: str, *, wait_s: int) -> None:
    """Somebody asked more often than anybody needs to. name: UNKNOWN where nobody is signed in."""
    log.warning("rate_limited", name=name, address=address, wait_s=wait_s)
