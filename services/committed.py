"""An archive's answer about Storage Commitment, recorded as part of the trace of the result that it speaks of."""

from datetime import datetime

import structlog

from services import tracing
from services.tracing import Kind
from services.triage.commitment import CommitmentReport
from services.triage.ports import StudyStore

log = structlog.get_logger(__name__)


def record_report(store: StudyStore, report: CommitmentReport, *, now: datetime) -> bool:
    """See `StudyStore.commitment_reported`."""
    parent = store.trace_of_transaction(report.transaction_uid)
    if parent is None:  # of a commitment that was asked of us, or of nobody
        return store.commitment_reported(report, now=now)
    with tracing.span("commitment report", parent=parent, kind=Kind.CONSUMER) as span:
        told = {"committed": len(report.committed), "failed": len(report.failed)}
        span.tell(**told)
        known = store.commitment_reported(report, now=now)
        log.info("result_committed", transaction=report.transaction_uid, **told)
        return known
