"""What receivers are told of results: deliveries without objects, in order for each study and receiver.

They are owed in the transaction that freezes or recalls a result. `delivery.created_at` is their order, so it never
falls within a study and receiver, whatever the clocks of the workers say.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store import versions
from services.backends.store.columns import UtcTime
from services.backends.store.frozen import frozen_result
from services.backends.store.owed import may_have_arrived, owe, same
from services.backends.store.tables import delivery, job, result
from services.backends.store.withheld import IS_WITHDRAWN, may_leave
from services.triage.errors import Reason
from services.triage.finding import Finding
from services.triage.notification import Notification
from services.triage.result import (
    IDENTITY_CORRECTED,
    RECALLED,
    DeliveryState,
    Destination,
    FrozenResult,
    ReceiverKind,
)
from services.triage.study import VersionKey

IS_NOTIFICATION = delivery.c.kind.in_(sorted(ReceiverKind))
_TICK = timedelta(microseconds=1)


def in_turn(now: datetime) -> sa.ColumnElement[bool]:
    """Of a delivery: it need not wait for an earlier notification of the same study to the same receiver.

    None waits for one that may not leave yet: it may be of another model, and what was not analysed is told at once.
    """
    earlier = delivery.alias()
    waits = sa.exists().where(
        earlier.c.study_instance_uid == delivery.c.study_instance_uid,
        earlier.c.destination == delivery.c.destination,
        earlier.c.created_at < delivery.c.created_at,
        sa.or_(
            sa.and_(earlier.c.state == DeliveryState.PENDING, may_leave(now, earlier)), earlier.c.claim_expires_at > now
        ),
    )
    return sa.or_(sa.not_(IS_NOTIFICATION), sa.not_(waits))


def owe_result(
    connection: Connection,
    result_id: str,
    finding: Finding,
    receivers: Sequence[Destination],
    *,
    priority: int,
    actor: str,
    now: datetime,
) -> None:
    """To the receivers that want to hear of such a finding, and to those that know what it replaces."""
    this = _result(connection, result_id)
    for receiver in receivers:
        if finding.occasions.isdisjoint(receiver.told_of) and not _knows_an_earlier(connection, this, receiver.name):
            continue
        owe(
            connection,
            created_at=_after_all(connection, this.study_instance_uid, receiver.name, now),
            actor=actor,
            result_id=result_id,
            study_instance_uid=this.study_instance_uid,
            destination=receiver.name,
            kind=receiver.kind,
            address=receiver.address,
            objects=(),
            priority=priority,
        )


def owe_withdrawal(connection: Connection, result_id: str, *, actor: str, now: datetime) -> None:
    """To the receivers that may know the result; before its own notifications are withdrawn."""
    told = delivery.c.result_id == result_id, IS_NOTIFICATION, sa.not_(delivery.c.note), may_have_arrived()
    for row in connection.execute(sa.select(delivery).where(*told)).all():
        created_at = _after_all(connection, row.study_instance_uid, row.destination, now)
        owe(connection, created_at=created_at, actor=actor, objects=(), note=True, **same(row))


def notification(connection: Connection, delivery_id: str) -> Notification:
    """See `StudyStore.notification`."""
    row = connection.execute(sa.select(delivery).where(delivery.c.delivery_id == delivery_id)).one()
    this = _result(connection, row.result_id)
    frozen = frozen_result(connection, row.result_id)
    assert frozen is not None  # noqa: S101 - a foreign key
    version = VersionKey(study_instance_uid=this.study_instance_uid, number=this.version)
    return Notification(
        notification_id=delivery_id,
        owed_at=row.created_at,
        result=frozen,
        frozen_at=this.frozen_at,
        instances=versions.instances(connection, version),
        withdrawn=_withdrawn(frozen) if row.note else None,
        earlier=_earlier(connection, this, row.destination),
        rewrites=tuple(_rewritten(connection, this.job_id)),
        overtaken=connection.execute(_told(this, row.destination).where(_later_than(this))).first() is not None,
    )


def _rewritten(connection: Connection, job_id: str) -> Iterator[str]:
    """The results that a job wrote again, newest first: each may itself be a copy."""
    while (rewritten := connection.scalar(sa.select(job.c.reconciles).where(job.c.job_id == job_id))) is not None:
        yield rewritten
        job_id = _result(connection, rewritten).job_id


def _withdrawn(frozen: FrozenResult) -> Reason:
    return IDENTITY_CORRECTED if frozen.recall is None else Reason(code=RECALLED.code, text=frozen.recall.reason)


def _earlier(connection: Connection, this: Any, receiver: str) -> FrozenResult | None:
    """The result that the receiver knows, and that was not withdrawn."""
    newest_first = result.c.version.desc(), result.c.frozen_at.desc()
    found = _told(this, receiver).where(_earlier_than(this), ~_taken_back()).order_by(*newest_first).limit(1)
    result_id = connection.scalar(found)
    return None if result_id is None else frozen_result(connection, result_id)


def _knows_an_earlier(connection: Connection, this: Any, receiver: str) -> bool:
    """Whether the receiver was told of an earlier result, or will be, or may have been."""
    known = _notices(this, receiver).where(_earlier_than(this), ~_taken_back(), sa.not_(IS_WITHDRAWN))
    return connection.execute(known).first() is not None


def _notices(this: Any, receiver: str) -> sa.Select[str]:
    """The results of the same model and study in the notifications of a receiver."""
    return (
        sa.select(result.c.result_id)
        .join(delivery, delivery.c.result_id == result.c.result_id)
        .where(
            result.c.study_instance_uid == this.study_instance_uid,
            result.c.model_name == this.model_name,
            delivery.c.destination == receiver,
            IS_NOTIFICATION,
            sa.not_(delivery.c.note),
        )
    )


def _told(this: Any, receiver: str) -> sa.Select[str]:
    return _notices(this, receiver).where(delivery.c.state == DeliveryState.SENT)


def _taken_back() -> sa.ColumnElement[bool]:
    """Of a notification: the receiver is owed the withdrawal of its result, or had it."""
    note = delivery.alias()
    return sa.exists().where(
        note.c.result_id == delivery.c.result_id, note.c.destination == delivery.c.destination, note.c.note
    )


def _earlier_than(this: Any) -> sa.ColumnElement[bool]:
    return sa.tuple_(result.c.version, result.c.frozen_at) < _place(this)


def _later_than(this: Any) -> sa.ColumnElement[bool]:
    return sa.tuple_(result.c.version, result.c.frozen_at) > _place(this)


def _place(this: Any) -> sa.Tuple:
    return sa.tuple_(this.version, sa.literal(this.frozen_at, UtcTime()))


def _result(connection: Connection, result_id: str) -> Any:
    return connection.execute(sa.select(result).where(result.c.result_id == result_id)).one()


def _after_all(connection: Connection, study_instance_uid: str, receiver: str, now: datetime) -> datetime:
    """A time after all that the receiver is told of the study."""
    last = connection.scalar(
        sa.select(sa.func.max(delivery.c.created_at)).where(
            delivery.c.study_instance_uid == study_instance_uid, delivery.c.destination == receiver
        )
    )
    return now if last is None or last < now else last + _TICK
