"""Events of associations that were rejected: one for all of a caller in a window, however often it tries."""

from datetime import UTC, datetime, timedelta

import structlog

from services.backends.audit_spool import AuditSpool
from services.triage.audit import AuditActor, AuditObject, AuditObjectKind, AuditOutcome, key_of
from services.triage.audit_types import AuditType, audited
from services.triage.errors import OutOfResources

log = structlog.get_logger(__name__)


def association_rejected(
    spool: AuditSpool, *, calling: str, called: str, address: str, reason: str, window: timedelta
) -> None:
    """Keep it as a file; reason: a code."""
    now = datetime.now(UTC)
    slot = str(int(now.timestamp() // max(1.0, window.total_seconds())))
    event = audited(
        AuditType.ASSOCIATION_REJECTED,
        AuditActor(name=calling or "unknown", address=address),
        objects=(AuditObject(kind=AuditObjectKind.ADDRESS, object_id=called or "unknown"),),
        outcome=AuditOutcome.SERIOUS_FAILURE,
        reason=reason,
        key=key_of(AuditType.ASSOCIATION_REJECTED, slot, calling, called, address, reason),
    )
    try:
        spool.add(event, now=now)
    except OutOfResources as error:
        log.warning("audit_event_lost", type=event.type, reason=str(error))
