"""Deliveries: claimed by one process at a time, sent or tried again or given up, and asked for again by a person.

A claim is to a delivery what a lease is to a job: who holds it sends, and one that has run out is another's to take.
Sending twice is harmless (the bytes are frozen), so only what would put a delivery back is guarded by the claim.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store import audit_events, history, traces
from services.backends.store.columns import UtcTime
from services.backends.store.notifications import in_turn
from services.backends.store.tables import delivery, result_object, verdict_document
from services.backends.store.withheld import IS_WITHDRAWN, may_leave
from services.triage.errors import Reason
from services.triage.ports import DeliveryLine, DueDelivery
from services.triage.result import (
    ABANDONED,
    DeliveryState,
    Destination,
    ObjectKind,
    kinds_of,
    reached_from,
    taken_by,
)

UNCLAIMED = {"claim": None, "claim_expires_at": None}
_DOWN = "destination_unavailable"


def is_due(connection: Connection, destination_name: str, state: DeliveryState, *, now: datetime) -> bool:
    """Whether there is anything to claim; takes no lock."""
    return connection.execute(_next(destination_name, state, now)).first() is not None


def claim(
    connection: Connection, destination_name: str, state: DeliveryState, *, now: datetime, duration: timedelta
) -> DueDelivery | None:
    """See `StudyStore.claim_delivery` (`pending`) and `claim_commitment` (`sent`). `attempt` counts this try."""
    # another process that claims at the same time takes the next one, and waits for nobody
    found = _next(destination_name, state, now).with_for_update(skip_locked=True)
    delivery_id = connection.scalar(found)
    if delivery_id is None:
        return None
    this, mine = delivery.c.delivery_id == delivery_id, uuid4().hex
    connection.execute(sa.update(delivery).where(this).values(claim=mine, claim_expires_at=now + duration))
    row = _row(connection, delivery_id)
    return DueDelivery(
        delivery_id=delivery_id,
        destination=Destination(
            name=row.destination, kind=row.kind, address=row.address, objects=frozenset(kinds(connection, row))
        ),
        attempt=row.attempt + 1,
        objects=tuple(_untaken(connection, row) if state is DeliveryState.PENDING else uncommitted(connection, row)),
        claim=mine,
        traceparent=traces.of_delivery(connection, row),
    )


def going(connection: Connection, row: Any) -> list[tuple[str, str, str]]:
    """(SOP Class UID, SOP Instance UID, sha256) of what goes with a delivery, in its order."""
    if row.verdict_document is not None:
        this = verdict_document.c.sop_instance_uid == row.verdict_document
        one = connection.execute(sa.select(verdict_document).where(this)).one()
        return [(one.sop_class_uid, one.sop_instance_uid, one.sha256)]
    objects = connection.execute(
        sa.select(result_object)
        .where(result_object.c.result_id == row.result_id, result_object.c.note == row.note)
        .order_by(result_object.c.position)
    ).all()
    taken = [True] * len(objects)
    if row.objects is not None:
        taken = taken_by(row.objects, [(one.sop_class_uid, _names(one)) for one in objects])
    return [
        (one.sop_class_uid, one.sop_instance_uid, one.sha256) for one, goes in zip(objects, taken, strict=True) if goes
    ]


def _names(row: Any) -> ObjectKind | None:
    return ObjectKind(row.names) if row.names else None


def uncommitted(connection: Connection, row: Any) -> list[tuple[str, str, str]]:
    """Those of them that the destination has not committed yet."""
    return [each for each in going(connection, row) if row.uncommitted is None or each[1] in row.uncommitted]


def _untaken(connection: Connection, row: Any) -> list[tuple[str, str, str]]:
    """Those of them that it has not said success to since the delivery last became pending."""
    left = uncommitted(connection, row)
    # a `deliver` of before revision 0012 leaves standing what was taken in an earlier round
    return [each for each in left if each[1] not in (row.taken or ())] or left


def renew(connection: Connection, claimed: DueDelivery, *, now: datetime, duration: timedelta) -> None:
    """See `StudyStore.renew_claim`."""
    connection.execute(sa.update(delivery).where(*held(claimed)).values(claim_expires_at=now + duration))


def delivered(connection: Connection, delivery_id: str, *, now: datetime, ask_commitment: bool) -> None:
    """See `StudyStore.delivered`."""
    this = delivery.c.delivery_id == delivery_id
    row = _row(connection, delivery_id)
    # what was withdrawn while it was on its way is not asked about: an answer would have it sent again
    asked_at = sa.case((IS_WITHDRAWN, sa.null()), else_=sa.literal(now, UtcTime())) if ask_commitment else None
    done = connection.execute(
        sa.update(delivery)
        .where(this, delivery.c.state.in_(reached_from(DeliveryState.SENT)))
        .values(state=DeliveryState.SENT, next_at=asked_at, transaction_uid=None, taken=None, **UNCLAIMED)
    )
    if done.rowcount:
        objects = uncommitted(connection, row)
        went = kinds_of(sop_class for sop_class, _, _ in objects)
        told = "the withdrawal of the result" if row.note else "the result"
        note(connection, row, now, DeliveryState.SENT, ", ".join(kind.upper() for kind in went) or told)
        audit_events.went_out(connection, row, objects, now=now)


def failed(
    connection: Connection,
    claimed: DueDelivery,
    reason: Reason,
    *,
    now: datetime,
    retry_at: datetime | None,
    taken: Sequence[str],
) -> None:
    """See `StudyStore.delivery_failed`."""
    if taken:
        before = connection.scalar(sa.select(delivery.c.taken).where(*held(claimed))) or ()
        connection.execute(sa.update(delivery).where(*held(claimed)).values(taken=(*before, *taken)))
    state = DeliveryState.GIVEN_UP if retry_at is None else DeliveryState.PENDING
    was = DeliveryState.PENDING
    put_off(connection, claimed, reason, was=was, state=state, unchanged="try_failed", now=now, next_at=retry_at)


def put_off(
    connection: Connection,
    claimed: DueDelivery,
    reason: Reason,
    *,
    was: DeliveryState,
    state: DeliveryState,
    unchanged: str,
    now: datetime,
    next_at: datetime | None,
) -> None:
    """What was tried failed; nothing changes if the claim is another's. unchanged: what history calls `was` again."""
    done = connection.execute(
        sa.update(delivery)
        .where(*held(claimed), delivery.c.state == was)
        .values(
            state=state,
            attempt=delivery.c.attempt + 1,
            next_at=next_at,
            reason_code=reason.code,
            reason_text=reason.text,
            **UNCLAIMED,
        )
    )
    if done.rowcount:
        what = unchanged if state is was else state
        row = _row(connection, claimed.delivery_id)
        note(connection, row, now, what, f"{reason.text} [{reason.code}]")
        if state is DeliveryState.GIVEN_UP:
            audit_events.went_out(connection, row, going(connection, row), now=now, failed=reason)


def bring_forward(connection: Connection, destination_name: str, *, now: datetime) -> int:
    """See `StudyStore.destination_back`."""
    waiting = (
        delivery.c.destination == destination_name,
        delivery.c.state.in_([DeliveryState.PENDING, DeliveryState.SENT]),
        delivery.c.next_at > now,
        delivery.c.reason_code == _DOWN,
    )
    return int(connection.execute(sa.update(delivery).where(*waiting).values(next_at=now)).rowcount)


def listed(
    connection: Connection, states: Collection[DeliveryState], *, destination_name: str | None, limit: int
) -> list[DeliveryLine]:
    """See `StudyStore.deliveries`."""
    rows = sa.select(delivery).where(delivery.c.state.in_(sorted(states)))
    if destination_name is not None:
        rows = rows.where(delivery.c.destination == destination_name)
    return [
        DeliveryLine(
            delivery_id=row.delivery_id,
            study_instance_uid=row.study_instance_uid,
            destination_name=row.destination,
            objects=kinds(connection, row),
            note=row.note,
            verdicts=row.verdict_document is not None,
            state=DeliveryState(row.state),
            attempt=row.attempt,
            created_at=row.created_at,
            reason=Reason(code=row.reason_code, text=row.reason_text) if row.reason_code else None,
        )
        for row in connection.execute(rows.order_by(delivery.c.created_at, delivery.c.delivery_id).limit(limit))
    ]


def resend(connection: Connection, delivery_ids: Sequence[str], *, actor: str, now: datetime) -> list[str]:
    """See `StudyStore.resend`."""
    done = []
    for delivery_id in delivery_ids:
        given_up = (
            delivery.c.delivery_id == delivery_id,
            delivery.c.state == DeliveryState.GIVEN_UP,
            sa.not_(IS_WITHDRAWN),
        )
        values = {
            "state": DeliveryState.PENDING,
            "attempt": 0,
            "requests": 0,
            "next_at": now,
            "taken": None,
            **UNCLAIMED,
        }
        if connection.execute(sa.update(delivery).where(*given_up).values(values)).rowcount:
            note(connection, _row(connection, delivery_id), now, DeliveryState.PENDING, "asked for again", actor=actor)
            done.append(delivery_id)
    for delivery_id in done:
        audit_events.asked_again(connection, _row(connection, delivery_id), actor=actor, now=now)
    return done


def give_up(connection: Connection, destination_name: str, reason: str, *, actor: str, now: datetime) -> int:
    """See `StudyStore.give_up`."""
    these = (
        delivery.c.destination == destination_name,
        delivery.c.state == DeliveryState.PENDING,
        sa.or_(delivery.c.claim_expires_at.is_(None), delivery.c.claim_expires_at <= now),
    )
    rows = connection.execute(sa.select(delivery).where(*these).with_for_update(skip_locked=True)).all()
    for row in rows:
        this = (delivery.c.delivery_id == row.delivery_id,)
        _give_up(connection, this, Reason(code=ABANDONED, text=reason), actor=actor, now=now)
        connection.execute(sa.update(delivery).where(*this).values(UNCLAIMED))
        audit_events.given_up(connection, row, reason=reason, actor=actor, now=now)
    return len(rows)


def withdraw(connection: Connection, result_id: str, reason: Reason, *, actor: str, now: datetime) -> None:
    """Give up the deliveries of a result that have not gone out, for good: `resend` leaves them."""
    _give_up(connection, (delivery.c.result_id == result_id, sa.not_(delivery.c.note)), reason, actor=actor, now=now)


def withdraw_verdicts(
    connection: Connection, study_instance_uid: str, reason: Reason, *, actor: str, now: datetime
) -> None:
    """The same for the documents of verdicts on a study."""
    these = delivery.c.study_instance_uid == study_instance_uid, delivery.c.verdict_document.is_not(None)
    _give_up(connection, these, reason, actor=actor, now=now)


def _give_up(
    connection: Connection, these: tuple[sa.ColumnElement[bool], ...], reason: Reason, *, actor: str, now: datetime
) -> None:
    """Whatever of these has not gone out.

    Those that went out are asked about no more, so that nothing of them is sent again. One that is on its way at this
    moment may arrive all the same, and is then noted as sent; it stays claimed, so that what tells of the
    withdrawal does not overtake it.
    """
    connection.execute(
        sa.update(delivery)
        .where(*these, delivery.c.state == DeliveryState.SENT)
        .values(next_at=None, transaction_uid=None, **UNCLAIMED)
    )
    open_still = sa.select(delivery).where(
        *these, delivery.c.state.in_([DeliveryState.PENDING, DeliveryState.GIVEN_UP])
    )
    for row in connection.execute(open_still).all():
        connection.execute(
            sa.update(delivery)
            .where(delivery.c.delivery_id == row.delivery_id)
            .values(
                state=DeliveryState.GIVEN_UP,
                next_at=None,
                reason_code=reason.code,
                reason_text=reason.text,
                transaction_uid=None,
            )
        )
        note(connection, row, now, DeliveryState.GIVEN_UP, f"{reason.text} [{reason.code}]", actor=actor)


def held(claimed: DueDelivery) -> tuple[sa.ColumnElement[bool], ...]:
    """While the claim is this process's."""
    return delivery.c.delivery_id == claimed.delivery_id, delivery.c.claim == claimed.claim


def note(connection: Connection, row: Any, now: datetime, what: str, cause: str, *, actor: str = "deliver") -> None:
    """A line in the history of a delivery."""
    line = history.line(
        row.study_instance_uid, "delivery", row.delivery_id, time=now, actor=actor, what=what, cause=cause
    )
    history.write(connection, [line])


def kinds(connection: Connection, row: Any) -> tuple[ObjectKind, ...]:
    """What goes with a delivery."""
    if row.objects is not None:
        return tuple(row.objects)
    return kinds_of(sop_class for sop_class, _, _ in going(connection, row))


def _row(connection: Connection, delivery_id: str) -> Any:
    return connection.execute(sa.select(delivery).where(delivery.c.delivery_id == delivery_id)).one()


def _next(destination_name: str, state: DeliveryState, now: datetime) -> sa.Select[str]:
    free = sa.or_(delivery.c.claim_expires_at.is_(None), delivery.c.claim_expires_at <= now)
    return (
        sa.select(delivery.c.delivery_id)
        .where(
            delivery.c.destination == destination_name,
            delivery.c.state == state,
            delivery.c.next_at <= now,
            free,
            in_turn(now),
            sa.not_(_overtakes(now)),
            # what was sent before it was withheld may still be committed
            may_leave(now) if state is DeliveryState.PENDING else sa.true(),
        )
        .order_by(delivery.c.priority, delivery.c.created_at, delivery.c.delivery_id)
        .limit(1)
    )


def _overtakes(now: datetime) -> sa.ColumnElement[bool]:
    """Of a delivery: it takes back a result that another process has in hand for the same destination."""
    result_on_its_way = delivery.alias()
    return sa.and_(
        delivery.c.note,
        sa.exists().where(
            result_on_its_way.c.result_id == delivery.c.result_id,
            result_on_its_way.c.destination == delivery.c.destination,
            result_on_its_way.c.claim_expires_at > now,
            sa.not_(result_on_its_way.c.note),
        ),
    )
