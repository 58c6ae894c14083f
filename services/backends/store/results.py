"""Freezing a result, once, with a pending delivery for each destination, and its review as a task."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store import (
    audit_events,
    history,
    notifications,
    result_traits,
    reviews,
    shadows,
    summary,
    tenancy,
    verdict_documents,
)
from services.backends.store import blind as holds
from services.backends.store import deliveries as deliveries_of
from services.backends.store.engine import locked
from services.backends.store.jobs import guarded_update, study_of
from services.backends.store.owed import owe
from services.backends.store.tables import job, result, result_object
from services.backends.store.withheld import kept_back
from services.triage.blind import BlindPolicy
from services.triage.errors import LeaseLost
from services.triage.job import JobState, Lease, OrderPriority
from services.triage.result import IDENTITY_CORRECTED, Destination, ObjectKind, Result, kinds_of, taken_by
from services.triage.switch import MODEL_SWITCHED_OFF


def freeze(
    connection: Connection,
    lease: Lease,
    frozen: Result,
    *,
    sha256s: Sequence[str],
    destinations: Sequence[Destination],
    now: datetime,
    blind: BlindPolicy,
    traceparent: str | None = None,
) -> str:
    """See `StudyStore.freeze`."""
    if len(sha256s) != len(frozen.objects):
        raise ValueError(f"{len(sha256s)} digests for {len(frozen.objects)} objects")
    uid = study_of(connection, lease.job_id)
    if uid is None:
        raise LeaseLost(f"job {lease.job_id} is unknown")
    locked(connection, [uid])
    guarded_update(connection, lease, {"state": JobState.FROZEN, "lease_expires_at": None})
    owner = connection.execute(
        sa.select(job.c.version, job.c.priority, job.c.model_name, job.c.reconciles).where(job.c.job_id == lease.job_id)
    ).one()
    result_id = uuid4().hex
    superseded = _newest(connection, uid, owner.model_name)
    connection.execute(
        sa.insert(result).values(
            result_id=result_id,
            job_id=lease.job_id,
            study_instance_uid=uid,
            version=owner.version,
            frozen_at=now,
            traceparent=traceparent,
            **_result_columns(frozen),
        )
    )
    result_traits.keep(connection, result_id, uid, frozen.series_instance_uid)
    objects = _object_rows(result_id, frozen, sha256s)
    if objects:
        connection.execute(sa.insert(result_object), objects)
    tenant = tenancy.tenant_of(connection, uid)
    theirs = [one for one in destinations if tenant in one.tenants]
    goes = {one: _going(one, frozen) for one in theirs if not one.told_of}
    actor = lease.worker
    lines = [history.line(uid, "job", lease.job_id, time=now, actor=actor, what="frozen", cause=frozen.finding.outcome)]
    lines += [
        history.line(uid, "job", lease.job_id, time=now, actor=actor, what="nothing_to_deliver", cause=one.name)
        for one, kinds in goes.items()
        if not kinds
    ]
    if destinations and not theirs:
        cause = f"no destination gets results of {f'tenant {tenant}' if tenant else 'studies without a tenant'}"
        lines.append(
            history.line(uid, "job", lease.job_id, time=now, actor=actor, what="nothing_to_deliver", cause=cause)
        )
    if connection.scalar(sa.select(kept_back(sa.literal(result_id)))):
        cause = MODEL_SWITCHED_OFF.code
        lines.append(history.line(uid, "job", lease.job_id, time=now, actor=actor, what="kept_back", cause=cause))
    if superseded is not None:
        cause = f"by result {result_id}"
        lines.append(history.line(uid, "job", superseded, time=now, actor=actor, what="superseded", cause=cause))
    history.write(connection, lines)
    priority = OrderPriority(owner.priority)
    held = holds.decide(connection, result_id, blind, tenant=tenant, priority=priority, actor=actor, now=now)
    reviews.schedule(connection, result_id, rewritten=owner.reconciles is not None, held=held, actor=actor, now=now)
    for one, kinds in goes.items():
        if kinds:
            owe(
                connection,
                created_at=now,
                actor=actor,
                result_id=result_id,
                study_instance_uid=uid,
                destination=one.name,
                kind=one.kind,
                address=one.address,
                objects=kinds,
                priority=owner.priority,
            )
    if owner.reconciles is not None:
        notifications.owe_withdrawal(connection, owner.reconciles, actor=actor, now=now)
        deliveries_of.withdraw(connection, owner.reconciles, IDENTITY_CORRECTED, actor=actor, now=now)
        deliveries_of.withdraw_verdicts(connection, uid, IDENTITY_CORRECTED, actor=actor, now=now)
        verdict_documents.owe_again(connection, uid, now=now)
    receivers = [one for one in theirs if one.told_of]
    notifications.owe_result(
        connection, result_id, frozen.finding, receivers, priority=owner.priority, actor=actor, now=now
    )
    shadows.owe(connection, result_id, frozen, uid, rewritten=owner.reconciles is not None, now=now)
    summary.refresh(connection, uid)
    audit_events.frozen(
        connection,
        lease,
        frozen,
        result_id=result_id,
        study_instance_uid=uid,
        version=owner.version,
        sha256s=sha256s,
        now=now,
    )
    return result_id


def _going(destination: Destination, frozen: Result) -> tuple[ObjectKind, ...]:
    """The kinds of the result's objects that the destination gets."""
    taken = taken_by(destination.objects, [(one.sop_class_uid, one.names) for one in frozen.objects])
    return kinds_of(one.sop_class_uid for one, goes in zip(frozen.objects, taken, strict=True) if goes)


def _newest(connection: Connection, uid: str, model_name: str) -> str | None:
    """The job of the newest result of a model."""
    return connection.scalar(
        sa.select(result.c.job_id)
        .where(result.c.study_instance_uid == uid, result.c.model_name == model_name)
        .order_by(result.c.version.desc(), result.c.frozen_at.desc())
        .limit(1)
    )


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
        "cautions": finding.cautions or None,
        "uncertainty": finding.uncertainty,
        "organs": finding.organs or None,
        "inference": frozen.inference,
        "timings_s": frozen.timings_s,
        "peak_memory_mb": frozen.peak_memory_mb,
        "energy_j": frozen.energy.joules if frozen.energy else None,
        "energy_source": frozen.energy.source if frozen.energy else None,
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
            "names": one.names,
        }
        for position, (one, sha256) in enumerate(zip(frozen.objects, sha256s, strict=True))
    ]
