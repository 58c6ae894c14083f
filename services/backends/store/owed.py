"""A delivery that is owed: its row and the first line of its history."""

from datetime import datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store import history
from services.backends.store.tables import delivery
from services.triage.result import DeliveryState


def owe(connection: Connection, *, created_at: datetime, actor: str, **columns: Any) -> None:
    """A pending delivery, due at once. columns: result, study, destination and its kind and address, priority, ..."""
    delivery_id = uuid4().hex
    connection.execute(
        sa.insert(delivery).values(
            delivery_id=delivery_id,
            state=DeliveryState.PENDING,
            created_at=created_at,
            next_at=created_at,
            **columns,
        )
    )
    line = history.line(
        columns["study_instance_uid"],
        "delivery",
        delivery_id,
        time=created_at,
        actor=actor,
        what=DeliveryState.PENDING,
        cause=columns["destination"],
    )
    history.write(connection, [line])


def same(row: Any) -> dict[str, Any]:
    """What another delivery of the same result to the same destination shares with this one."""
    names = ("result_id", "study_instance_uid", "destination", "kind", "address", "priority")
    return {name: getattr(row, name) for name in names}


def may_have_arrived() -> sa.ColumnElement[bool]:
    """Of a delivery: its destination may have something of it."""
    return sa.not_(
        sa.and_(delivery.c.state == DeliveryState.PENDING, delivery.c.attempt == 0, delivery.c.claim.is_(None))
    )
