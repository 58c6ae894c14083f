"""Freezing a result, once, and its way to the destinations."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store import history, summary
from services.backends.store.engine import locked
from services.backends.store.jobs import guarded_update, study_of
from services.backends.store.tables import delivery, job, result, result_object
from services.triage.errors import LeaseLost, Reason
from services.triage.job import JobState, Lease
from services.triage.ports import DueDelivery
from services.triage.result import DeliveryState, Destination, Result

# From where a delivery may reach a state; a repeated or late answer that fits none changes nothing.
_REACHED_FROM = {
    DeliveryState.SENT: [DeliveryState.PENDING],
    DeliveryState.COMMITTED: [DeliveryState.PENDING, DeliveryState.SENT],
}


def freeze(
    connection: Connection,
    lease: Lease,
    frozen: Result,
    *,
    sha256s: Sequence[str],
    destinations: Sequence[Destination],
    now: datetime,
) -> str:
    """See `StudyStore.freeze`."""
    if len(sha256s) != len(frozen.objects):
        raise ValueError(f"{len(sha256s)} digests for {len(frozen.objects)} objects")
    uid = study_of(connection, lease.job_id)
    if uid is None:
        raise LeaseLost(f"job {lease.job_id} is unknown")
    locked(connection, [uid])
    guarded_update(connection, lease, {"state": JobState.FROZEN, "lease_expires_at": None})
    owner = connection.execute(sa.select(job.c.version, job.c.priority).where(job.c.job_id == lease.job_id)).one()
    result_id = uuid4().hex
    connection.execute(
        sa.insert(result).values(
            result_id=result_id,
            job_id=lease.job_id,
            study_instance_uid=uid,
            version=owner.version,
            frozen_at=now,
            **_result_columns(frozen),
        )
    )
    objects = _object_rows(result_id, frozen, sha256s)
    if objects:
        connection.execute(sa.insert(result_object), objects)
    deliveries = [_delivery_row(uid, result_id, one, owner.priority, now) for one in destinations]
    if deliveries:
        connection.execute(sa.insert(delivery), deliveries)
    actor = lease.worker
    lines = [history.line(uid, "job", lease.job_id, time=now, actor=actor, what="frozen", cause=frozen.finding.outcome)]
    lines += [
        history.line(
            uid, "delivery", one["delivery_id"], time=now, actor=actor, what="pending", cause=one["destination"]
        )
        for one in deliveries
    ]
    history.write(connection, lines)
    summary.refresh(connection, uid)
    return result_id


def due(connection: Connection, destination_name: str, *, now: datetime, limit: int) -> list[DueDelivery]:
    """See `StudyStore.due_deliveries`. `attempt` counts this try."""
    rows = connection.execute(
        sa.select(delivery)
        .where(
            delivery.c.destination == destination_name,
            delivery.c.state == DeliveryState.PENDING,
            delivery.c.next_at <= now,
        )
        .order_by(delivery.c.priority, delivery.c.created_at, delivery.c.delivery_id)
        .limit(limit)
    ).all()
    objects: dict[str, list[tuple[str, str, str]]] = {row.result_id: [] for row in rows}
    for one in connection.execute(
        sa.select(result_object).where(result_object.c.result_id.in_(list(objects))).order_by(result_object.c.position)
    ):
        objects[one.result_id].append((one.sop_class_uid, one.sop_instance_uid, one.sha256))
    return [
        DueDelivery(
            delivery_id=row.delivery_id,
            destination=Destination(name=row.destination, kind=row.kind, address=row.address),
            attempt=row.attempt + 1,
            objects=tuple(objects[row.result_id]),
        )
        for row in rows
    ]


def delivered(connection: Connection, delivery_id: str, state: DeliveryState, *, now: datetime) -> None:
    """See `StudyStore.delivered`."""
    done = connection.execute(
        sa.update(delivery)
        .where(delivery.c.delivery_id == delivery_id, delivery.c.state.in_(_REACHED_FROM[state]))
        .values(state=state, next_at=None)
    )
    if done.rowcount:
        _note(connection, delivery_id, now, state, "")


def delivery_failed(
    connection: Connection, delivery_id: str, reason: Reason, *, now: datetime, retry_at: datetime | None
) -> None:
    """See `StudyStore.delivery_failed`."""
    state = DeliveryState.GIVEN_UP if retry_at is None else DeliveryState.PENDING
    done = connection.execute(
        sa.update(delivery)
        .where(delivery.c.delivery_id == delivery_id, delivery.c.state == DeliveryState.PENDING)
        .values(
            state=state,
            attempt=delivery.c.attempt + 1,
            next_at=retry_at,
            reason_code=reason.code,
            reason_text=reason.text,
        )
    )
    if done.rowcount:
        what = "try_failed" if retry_at is not None else state
        _note(connection, delivery_id, now, what, f"{reason.text} [{reason.code}]")


def _note(connection: Connection, delivery_id: str, now: datetime, what: str, cause: str) -> None:
    uid = connection.scalars(
        sa.select(delivery.c.study_instance_uid).where(delivery.c.delivery_id == delivery_id)
    ).one()
    line = history.line(uid, "delivery", delivery_id, time=now, actor="deliver", what=what, cause=cause)
    history.write(connection, [line])


def _result_columns(frozen: Result) -> dict[str, Any]:
    finding = frozen.finding
    return {
        "model_name": frozen.model.name,
        "model_version": frozen.model.version,
        "weights_sha256": frozen.model.weights_sha256,
        "series_instance_uid": frozen.series_instance_uid,
        "outcome": finding.outcome,
        "flag": finding.flag,
        "score": finding.score,
        "calibrated": finding.calibrated,
        "reason_code": finding.reason.code if finding.reason else None,
        "reason_text": finding.reason.text if finding.reason else None,
        "lesions": finding.lesions,
        "timings_s": frozen.timings_s,
        "peak_memory_mb": frozen.peak_memory_mb,
    }


def _object_rows(result_id: str, frozen: Result, sha256s: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "sop_instance_uid": one.sop_instance_uid,
            "result_id": result_id,
            "position": position,
            "modality": one.modality,
            "sop_class_uid": one.sop_class_uid,
            "series_instance_uid": one.series_instance_uid,
            "sha256": sha256,
            "size_bytes": len(one.content),
        }
        for position, (one, sha256) in enumerate(zip(frozen.objects, sha256s, strict=True))
    ]


def _delivery_row(uid: str, result_id: str, destination: Destination, priority: int, now: datetime) -> dict[str, Any]:
    return {
        "delivery_id": uuid4().hex,
        "result_id": result_id,
        "study_instance_uid": uid,
        "destination": destination.name,
        "kind": destination.kind,
        "address": destination.address,
        "state": DeliveryState.PENDING,
        "priority": priority,
        "created_at": now,
        "next_at": now,
    }
