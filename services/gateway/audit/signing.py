"""Events of signing in and out."""

from services.gateway.audit.recorder import Recorder
from services.triage.audit import AuditActor, AuditOutcome
from services.triage.audit_types import AuditType, audited


def signed_in(recorder: Recorder, name: str, address: str) -> None:
    """On the page, with a session."""
    recorder.record(audited(AuditType.SIGN_IN, AuditActor(name=name, address=address)))


def key_taken(recorder: Recorder, name: str, address: str) -> None:
    """By a key with each request: once in a window."""
    recorder.once(audited(AuditType.SIGN_IN, AuditActor(name=name, address=address)), name, address)


def sign_in_failed(recorder: Recorder, name: str, address: str) -> None:
    """name: whose it is here; `unknown`: nobody's, for what was typed may be a key."""
    event = audited(
        AuditType.SIGN_IN,
        AuditActor(name=name, address=address),
        outcome=AuditOutcome.MINOR_FAILURE,
        reason="wrong_key",
    )
    recorder.record(event)


def signed_out(recorder: Recorder, name: str, address: str) -> None:
    """The session was ended."""
    recorder.record(audited(AuditType.SIGN_OUT, AuditActor(name=name, address=address)))
