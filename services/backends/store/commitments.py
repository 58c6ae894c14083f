"""Storage Commitment of deliveries (PS3.4 annex J): asked in transactions, each kept before the peer hears of it.

A delivery stays `sent` while it is asked about. The answer may come to any process, at any time, and more than once:
its instances are committed whichever transaction says so, but only the newest one says what to do about the others.
(`delivery.transaction_uid`: of a delivery that was sent again it is none, until it is asked about again.)
"""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store.deliveries import UNCLAIMED, claim, going, held, note, put_off, uncommitted
from services.backends.store.tables import commitment, delivery
from services.triage.commitment import CommitmentReport
from services.triage.errors import LeaseLost, Reason
from services.triage.ports import DueCommitment, DueDelivery
from services.triage.result import DeliveryState, kind_of, reached_from

AWAITS_COMMITMENT = sa.and_(delivery.c.state == DeliveryState.SENT, delivery.c.next_at.is_not(None))
"""Of a delivery: it was sent, and its commitment is to be asked for; without a next time nobody asks."""


def claim_due(
    connection: Connection, destination_name: str, *, now: datetime, duration: timedelta
) -> DueCommitment | None:
    """See `StudyStore.claim_commitment`."""
    claimed = claim(connection, destination_name, DeliveryState.SENT, now=now, duration=duration)
    if claimed is None:
        return None
    row = connection.execute(sa.select(delivery).where(*held(claimed))).one()
    transaction = commitment.c.transaction_uid == row.transaction_uid
    answered = connection.scalar(sa.select(commitment.c.answered_at).where(transaction)) is not None
    failed = Reason(code=row.reason_code, text=row.reason_text) if answered else None
    return DueCommitment(delivery=claimed, requests=row.requests, failed=failed)


def asked(
    connection: Connection, due: DueCommitment, transaction_uid: str, *, now: datetime, again_at: datetime
) -> None:
    """See `StudyStore.commitment_asked`."""
    done = connection.execute(
        sa.update(delivery)
        .where(*held(due.delivery), delivery.c.state == DeliveryState.SENT)
        .values(
            transaction_uid=transaction_uid,
            requests=delivery.c.requests + 1,
            next_at=again_at,
            reason_code=None,  # of an earlier try: it would have this one brought forward
            reason_text=None,
        )
    )
    if not done.rowcount:
        raise LeaseLost(f"delivery {due.delivery.delivery_id} is another process's now")
    connection.execute(
        sa.insert(commitment).values(
            transaction_uid=transaction_uid,
            delivery_id=due.delivery.delivery_id,
            instances=tuple(uid for _, uid, _ in due.delivery.objects),
            asked_at=now,
        )
    )
    note(connection, _locked(connection, due.delivery.delivery_id), now, "commitment_asked", transaction_uid)


def reported(connection: Connection, report: CommitmentReport, *, now: datetime) -> bool:
    """See `StudyStore.commitment_reported`."""
    this = commitment.c.transaction_uid == report.transaction_uid
    delivery_id = connection.scalar(sa.select(commitment.c.delivery_id).where(this))
    if delivery_id is None:
        return False
    row = _locked(connection, delivery_id)
    transaction = connection.execute(sa.select(commitment).where(this)).one()
    if transaction.answered_at is not None:
        return True
    connection.execute(sa.update(commitment).where(this).values(answered_at=now))
    remaining = [uid for _, uid, _ in uncommitted(connection, row) if uid not in _kept(report, transaction)]
    if not remaining:
        _committed(connection, row, report, now=now)
        return True
    kinds = {uid: kind_of(sop_class_uid).upper() for sop_class_uid, uid, _ in going(connection, row)}
    reason = report.shortfall(transaction.instances, kinds)
    values: dict[str, Any] = {"uncommitted": tuple(remaining)}
    if report.transaction_uid == row.transaction_uid and row.state == DeliveryState.SENT:
        values |= {"next_at": now, "reason_code": reason.code, "reason_text": reason.text, **UNCLAIMED}
    connection.execute(sa.update(delivery).where(delivery.c.delivery_id == delivery_id).values(values))
    note(connection, row, now, reason.code, f"{reason.text}, transaction {report.transaction_uid}")
    return True


def not_committed(
    connection: Connection,
    claimed: DueDelivery,
    reason: Reason,
    *,
    state: DeliveryState,
    now: datetime,
    next_at: datetime | None,
) -> None:
    """See `StudyStore.not_committed`."""
    was, unchanged = DeliveryState.SENT, "not_committed"
    put_off(connection, claimed, reason, was=was, state=state, unchanged=unchanged, now=now, next_at=next_at)


def _committed(connection: Connection, row: Any, report: CommitmentReport, *, now: datetime) -> None:
    this = delivery.c.delivery_id == row.delivery_id
    done = connection.execute(
        sa.update(delivery)
        .where(this, delivery.c.state.in_(reached_from(DeliveryState.COMMITTED)))
        .values(state=DeliveryState.COMMITTED, uncommitted=(), next_at=None, **UNCLAIMED)
    )
    if done.rowcount:
        note(connection, row, now, DeliveryState.COMMITTED, f"transaction {report.transaction_uid}")


def _kept(report: CommitmentReport, transaction: Any) -> set[str]:
    """Of what was asked for: a peer can commit nothing else."""
    return set(transaction.instances) & report.committed


def _locked(connection: Connection, delivery_id: str) -> Any:
    """The delivery, which no other process changes until the transaction ends."""
    return connection.execute(sa.select(delivery).where(delivery.c.delivery_id == delivery_id).with_for_update()).one()
