"""The rows of a request for Storage Commitment: what is due of it, what is decided, what an operator sees."""

from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store import history
from services.backends.store.tables import archive_inquiry, commitment_request, instance, requested_instance, study
from services.triage.commitment import DueRequest, RequestLine, RequestState, Wanted
from services.triage.errors import Reason
from services.triage.tenant import NO_TENANT

UNCLAIMED = {"claim": None, "claim_expires_at": None}


def due_request(connection: Connection, transaction_uid: str, *, tenant: str = NO_TENANT) -> DueRequest:
    """Everything that is known of a request; held is what this tenant has."""
    row = connection.execute(sa.select(commitment_request).where(is_request(transaction_uid))).one()
    items = connection.execute(
        sa.select(requested_instance)
        .where(requested_instance.c.transaction_uid == transaction_uid)
        .order_by(requested_instance.c.position)
    ).all()
    held = _held(connection, transaction_uid, tenant)
    return DueRequest(
        transaction_uid=transaction_uid,
        calling_ae_title=row.calling_ae_title,
        state=RequestState(row.state),
        asked_at=row.asked_at,
        decided_at=row.decided_at,
        attempt=row.attempt + 1,
        inquiries=inquiries(connection, transaction_uid),
        wanted=tuple(
            Wanted(
                sop_class_uid=each.sop_class_uid,
                sop_instance_uid=each.sop_instance_uid,
                held=held.get(each.sop_instance_uid),
                refused=each.failure_reason,
            )
            for each in items
            if not each.decided
        ),
        decided=tuple(
            (each.sop_class_uid, each.sop_instance_uid, each.failure_reason) for each in items if each.decided
        ),
        claim=row.claim or "",
    )


def line(connection: Connection, row: Any) -> RequestLine:
    """One request for an operator."""
    failed = requested_instance.c.failure_reason.is_not(None)
    counted = sa.select(requested_instance.c.decided, failed, sa.func.count())
    counts = {
        (bool(decided), bool(is_failed)): int(number)
        for decided, is_failed, number in connection.execute(
            counted.where(requested_instance.c.transaction_uid == row.transaction_uid).group_by(
                requested_instance.c.decided, failed
            )
        )
    }
    return RequestLine(
        transaction_uid=row.transaction_uid,
        calling_ae_title=row.calling_ae_title,
        state=RequestState(row.state),
        asked_at=row.asked_at,
        instances=sum(counts.values()),
        committed=counts.get((True, False), 0),
        failed=counts.get((True, True), 0),
        attempt=row.attempt,
        reason=Reason(code=row.reason_code, text=row.reason_text) if row.reason_code else None,
    )


def close_if_decided(connection: Connection, transaction_uid: str, now: datetime) -> bool:
    """Once nothing is undecided, the requester is owed the report."""
    if undecided(connection, transaction_uid):
        return False
    connection.execute(
        sa.update(commitment_request)
        .where(is_request(transaction_uid))
        .values(
            state=RequestState.DECIDED,
            decided_at=now,
            attempt=0,
            next_at=now,
            reason_code=None,
            reason_text=None,
            **UNCLAIMED,
        )
    )
    count = due_request(connection, transaction_uid).count()
    note(connection, transaction_uid, "commitment_decided", f"{count}, transaction {transaction_uid}", now)
    return True


def verdict(row: Any, failure_reason: int | None, *, decided: bool = True) -> dict[str, Any]:
    """What is entered of one instance; decided without a Failure Reason: committed."""
    return {
        "of_request": row.transaction_uid,
        "at_position": row.position,
        "decided": decided,
        "failure_reason": failure_reason,
    }


def enter_verdicts(connection: Connection, verdicts: Sequence[dict[str, Any]]) -> None:
    """Enter any number of them in one statement."""
    if verdicts:
        this = (
            requested_instance.c.transaction_uid == sa.bindparam("of_request"),
            requested_instance.c.position == sa.bindparam("at_position"),
        )
        # the columns are those of the verdicts
        connection.execute(sa.update(requested_instance).where(*this), list(verdicts))


def note(
    connection: Connection, transaction_uid: str, what: str, cause: str, now: datetime, *, actor: str = "deliver"
) -> None:
    """A line in the history of each study of which the archive was asked for an instance.

    Of no other: an AE may ask for instances that another tenant holds, which says nothing to anybody.
    """
    lists = connection.scalars(
        sa.select(archive_inquiry.c.instances).where(archive_inquiry.c.request_uid == transaction_uid)
    )
    asked = set(chain.from_iterable(lists))
    held = connection.execute(
        sa.select(instance.c.study_instance_uid, instance.c.sop_instance_uid)
        .join(requested_instance, requested_instance.c.sop_instance_uid == instance.c.sop_instance_uid)
        .where(requested_instance.c.transaction_uid == transaction_uid)
    )
    studies = sorted({study_uid for study_uid, uid in held if uid in asked})
    lines = [history.line(uid, "study", uid, time=now, actor=actor, what=what, cause=cause) for uid in studies]
    history.write(connection, lines)


def undecided(connection: Connection, transaction_uid: str) -> Sequence[Any]:
    """The instances of a request that are undecided, in its order."""
    return connection.execute(
        sa.select(requested_instance)
        .where(requested_instance.c.transaction_uid == transaction_uid, sa.not_(requested_instance.c.decided))
        .order_by(requested_instance.c.position)
    ).all()


def inquiries(connection: Connection, transaction_uid: str) -> int:
    """How often the archive was asked: the number of the newest transaction."""
    return (
        connection.scalar(
            sa.select(sa.func.max(archive_inquiry.c.number)).where(archive_inquiry.c.request_uid == transaction_uid)
        )
        or 0
    )


def locked(connection: Connection, transaction_uid: str) -> Any:
    """The request, which no other process changes until the transaction ends."""
    return connection.execute(sa.select(commitment_request).where(is_request(transaction_uid)).with_for_update()).one()


def is_request(transaction_uid: str) -> sa.ColumnElement[bool]:
    """The one of this Transaction UID."""
    return commitment_request.c.transaction_uid == transaction_uid


def _held(connection: Connection, transaction_uid: str, tenant: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """SOP Instance UID -> SOP Class UID (of the newest content) and digests, of what is undecided and was received."""
    found = (
        sa.select(instance.c.sop_instance_uid, instance.c.digest, instance.c.header)
        .join(requested_instance, requested_instance.c.sop_instance_uid == instance.c.sop_instance_uid)
        .where(requested_instance.c.transaction_uid == transaction_uid, sa.not_(requested_instance.c.decided))
        .order_by(instance.c.id)
    )
    if tenant != NO_TENANT:
        found = found.join(study, study.c.study_instance_uid == instance.c.study_instance_uid)
        found = found.where(study.c.tenant == tenant)
    rows = connection.execute(found)
    held: dict[str, tuple[str, tuple[str, ...]]] = {}
    for row in rows:
        _, earlier = held.get(row.sop_instance_uid, ("", ()))
        held[row.sop_instance_uid] = row.header.sop_class_uid, (*earlier, row.digest)
    return held
