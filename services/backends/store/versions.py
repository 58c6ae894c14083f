"""Study versions: which are quiet, what they hold, and closing one with its plan."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.person_name import index_of
from services.backends.store import audit_events, corrections, history, summary
from services.backends.store.engine import locked
from services.backends.store.tables import instance, job, study, study_version
from services.triage.audit_types import AuditType
from services.triage.errors import Reason
from services.triage.identity import NOT_AGREED, agree
from services.triage.job import JobPlan, JobState, OrderPriority, Plan, rank
from services.triage.result import RECALLED
from services.triage.study import Instance, StudyAttributes, StudyState, VersionKey
from services.triage.tenant import with_issuer

ASKED_FOR = "asked"
"""What gave the priority where a person or a system asked for it with the completion."""


def quiet(connection: Connection, *, now: datetime, quiet_period: timedelta) -> list[VersionKey]:
    """See `StudyStore.quiet_versions`; oldest first."""
    rows = connection.execute(
        sa.select(study_version.c.study_instance_uid, study_version.c.number)
        .where(
            study_version.c.state == StudyState.RECEIVING,
            sa.or_(study_version.c.last_image_at <= now - quiet_period, study_version.c.completion_asked),
        )
        .order_by(study_version.c.last_image_at)
    )
    return [VersionKey(study_instance_uid=uid, number=number) for uid, number in rows]


def instances(connection: Connection, version: VersionKey) -> tuple[Instance, ...]:
    """See `StudyStore.instances`: in order of arrival, where one UID has two contents the newest, at its own place."""
    return newest(connection, version.study_instance_uid, *_of(version))


def newest(connection: Connection, study_instance_uid: str, *where: sa.ColumnElement[bool]) -> tuple[Instance, ...]:
    """The newest content of each instance of a study; one whose own attributes were not kept has those of the study."""
    of_study = connection.execute(sa.select(study).where(study.c.study_instance_uid == study_instance_uid)).first()
    if of_study is None:
        return ()
    attributes, issuer = attributes_of(of_study), of_study.tenant_issuer
    rows = connection.execute(
        sa.select(instance).where(instance.c.study_instance_uid == study_instance_uid, *where).order_by(instance.c.id)
    )
    found = {row.sop_instance_uid: instance_of(row, attributes, issuer=issuer) for row in rows}
    return tuple(found.values())


def instance_of(row: sa.Row[Any], attributes: StudyAttributes, *, issuer: str = "") -> Instance:
    """An instance by its row; one whose own attributes were not kept has these, those of the study.

    issuer: of each PatientID that comes without one.
    """
    own = with_issuer(row.attributes, issuer) if row.attributes else attributes
    held = with_issuer(row.reconciled, issuer) if row.reconciled else None
    return Instance(header=row.header, study=held or own, digest=row.digest, as_received=own if held else None)


def senders(connection: Connection, version: VersionKey) -> set[str]:
    """See `StudyStore.senders`."""
    return set(connection.scalars(sa.select(instance.c.received_from).where(*_of(version)).distinct()))


def study_attributes(connection: Connection, study_instance_uid: str) -> StudyAttributes | None:
    """The attributes of a study, None if it is unknown."""
    row = connection.execute(sa.select(study).where(study.c.study_instance_uid == study_instance_uid)).first()
    return None if row is None else attributes_of(row)


def columns_of(attributes: StudyAttributes) -> dict[str, str]:
    """The columns of `study` that hold the attributes, and that by which the patient's name is searched."""
    told = {name: getattr(attributes, name) for name in StudyAttributes.__dataclass_fields__}
    return {**told, "name_index": index_of(attributes.patient_name)}


def attributes_of(row: sa.Row[Any]) -> StudyAttributes:
    """The attributes in a row that has the columns of `study`."""
    told = StudyAttributes(**{name: getattr(row, name) for name in StudyAttributes.__dataclass_fields__})
    return with_issuer(told, row.tenant_issuer)


def ask_completion(
    connection: Connection, study_instance_uid: str, *, actor: str, now: datetime, priority: OrderPriority
) -> bool:
    """See `StudyStore.ask_completion`. Asking again is True as well, and writes no second line."""
    locked(connection, [study_instance_uid])
    receiving = (
        study_version.c.study_instance_uid == study_instance_uid,
        study_version.c.state == StudyState.RECEIVING,
    )
    row = connection.execute(
        sa.select(study_version.c.number, study_version.c.completion_asked, study_version.c.priority).where(*receiving)
    ).first()
    if row is None:
        return False
    if not row.completion_asked:
        line = history.line(
            study_instance_uid, "version", str(row.number), time=now, actor=actor, what="completion_asked"
        )
        history.write(connection, [line])
    asked = priority if row.priority is None else min(priority, row.priority)
    connection.execute(sa.update(study_version).where(*receiving).values(completion_asked=True, priority=asked))
    if not row.completion_asked:
        type_, told = AuditType.COMPLETION_ASKED, {"priority": asked.name.lower()}
        audit_events.of_a_study(connection, type_, study_instance_uid, actor=actor, now=now, **told)
    return True


def ask_analysis(connection: Connection, study_instance_uid: str, *, actor: str, now: datetime) -> bool:
    """See `StudyStore.ask_analysis`."""
    locked(connection, [study_instance_uid])
    newest = newest_version(connection, study_instance_uid)
    open_jobs = job.c.study_instance_uid == study_instance_uid, job.c.state.in_([JobState.QUEUED, JobState.ANALYSING])
    gone = instance.c.study_instance_uid == study_instance_uid, instance.c.deleted_at.is_not(None)
    if (
        newest is None
        or newest.state == StudyState.RECEIVING
        or connection.scalar(sa.select(sa.exists().where(*open_jobs)))
        or connection.scalar(sa.select(sa.exists().where(*gone)))
    ):
        return False
    open_next(
        connection,
        newest,
        now=now,
        actor=actor,
        cause="a new analysis was asked for",
        completion_asked=True,
        rerun=True,
    )
    summary.refresh(connection, study_instance_uid)
    audit_events.of_a_study(connection, AuditType.ANALYSIS_ASKED, study_instance_uid, actor=actor, now=now)
    return True


def newest_version(connection: Connection, study_instance_uid: str) -> sa.Row[Any] | None:
    """The row of the newest version of a study, None before its first image."""
    mine = study_version.c.study_instance_uid == study_instance_uid
    return connection.execute(
        sa.select(study_version).where(mine).order_by(study_version.c.number.desc()).limit(1)
    ).first()


def open_next(
    connection: Connection, newest: sa.Row[Any], *, now: datetime, actor: str, cause: str, **values: Any
) -> None:
    """Open the version after the newest, of the same images, and cancel the jobs of that one; the study is locked."""
    uid, number = newest.study_instance_uid, newest.number + 1
    cancel_jobs(connection, uid, now=now, cause=f"version {number} was opened")
    connection.execute(
        sa.insert(study_version).values(
            study_instance_uid=uid,
            number=number,
            state=StudyState.RECEIVING,
            opened_at=now,
            last_image_at=now,
            images_since=newest.images_since or newest.number,
            **values,
        )
    )
    line = history.line(uid, "version", str(number), time=now, actor=actor, what=StudyState.RECEIVING, cause=cause)
    history.write(connection, [line])


def cancel_jobs(connection: Connection, study_instance_uid: str, *, now: datetime, cause: str) -> None:
    """Cancel what is queued or analysed of a study."""
    still_open = (
        job.c.study_instance_uid == study_instance_uid,
        job.c.state.in_([JobState.QUEUED, JobState.ANALYSING]),
    )
    job_ids = connection.scalars(sa.select(job.c.job_id).where(*still_open)).all()
    connection.execute(
        sa.update(job).where(*still_open).values(state=JobState.CANCELLED, outbox=False, lease_expires_at=None)
    )
    note = partial(history.line, study_instance_uid, "job", time=now, actor="store", what=JobState.CANCELLED)
    history.write(connection, [note(job_id, cause=cause) for job_id in job_ids])


def complete(
    connection: Connection,
    version: VersionKey,
    plan: Plan,
    *,
    priority: OrderPriority,
    priority_from: str,
    seen: int,
    now: datetime,
    traceparent: str | None,
    said: Reason | None,
) -> bool:
    """See `StudyStore.complete`.

    A second content of an instance already counted does not change the number `seen`: it is found by its time.
    What of the plan an earlier result has answered is written again, not computed again (`corrections`).
    """
    uid = version.study_instance_uid
    locked(connection, [uid])
    if _count(connection, version) != seen:
        return False
    asked = connection.scalar(
        sa.select(study_version.c.priority).where(
            study_version.c.study_instance_uid == uid, study_version.c.number == version.number
        )
    )
    if asked is not None and asked < priority:
        priority, priority_from = OrderPriority(asked), ASKED_FOR
    reason = plan.out_of_scope
    closed = connection.execute(
        sa.update(study_version)
        .where(
            study_version.c.study_instance_uid == uid,
            study_version.c.number == version.number,
            study_version.c.state == StudyState.RECEIVING,
            study_version.c.last_image_at <= now,
        )
        .values(
            state=StudyState.COMPLETE,
            completed_at=now,
            priority=priority,
            priority_from=priority_from,
            out_of_scope_code=reason.code if reason else None,
            out_of_scope_text=reason.text if reason else None,
            completed_on=said.code if said else None,
            traceparent=sa.func.coalesce(study_version.c.traceparent, traceparent),
        )
    )
    if closed.rowcount == 0:
        return False
    cause = reason.code if reason else f"{seen} instances"
    note = partial(history.line, uid, "version", str(version.number), time=now, actor="gateway")
    lines = [note(what=said.code, cause=said.text)] if said else []
    history.write(connection, [*lines, note(what="complete", cause=cause)])
    _queue(connection, version, plan.jobs, priority=priority, now=now, traceparent=traceparent)
    summary.refresh(connection, uid)
    return True


def _queue(
    connection: Connection,
    version: VersionKey,
    plans: Sequence[JobPlan],
    *,
    priority: OrderPriority,
    now: datetime,
    traceparent: str | None,
) -> None:
    """Queue the jobs of a version: one for each plan, but for what an earlier result says of the same images.

    That is written again, not computed again, once the images agree on whose they are; until then it stands. What was
    recalled stays so.
    """
    earlier = corrections.answered(connection, version, plans)
    images = instances(connection, version) if earlier else ()
    disagreed = {one.model_name for one in plans if not agree(images, one.series_instance_uid)}
    stand = {name for name, one in earlier.items() if one.recalled or name in disagreed}
    reconciles = {name: one.result_id for name, one in earlier.items()}
    jobs = [
        {**_job(version, one, priority, now), "reconciles": reconciles.get(one.model_name), "traceparent": traceparent}
        for one in plans
        if one.model_name not in stand
    ]
    if jobs:
        connection.execute(sa.insert(job), jobs)
    note = partial(history.line, version.study_instance_uid, time=now, actor="gateway")
    lines = [note("job", one["job_id"], what="queued", cause=one["model_name"]) for one in jobs]
    if stand:
        cause = NOT_AGREED.code if stand & disagreed else RECALLED.code
        lines.append(note("version", str(version.number), what="results_stand", cause=cause))
    history.write(connection, lines)


def _job(version: VersionKey, plan: JobPlan, priority: OrderPriority, now: datetime) -> dict[str, Any]:
    return {
        "job_id": uuid4().hex,
        "study_instance_uid": version.study_instance_uid,
        "version": version.number,
        "model_name": plan.model_name,
        "plan": plan,
        "priority": priority,
        "state": JobState.QUEUED,
        "queued_at": now,
        "rank": rank(priority, now),
        "outbox": True,
    }


def _count(connection: Connection, version: VersionKey) -> int:
    count = connection.scalar(sa.select(sa.func.count(sa.distinct(instance.c.sop_instance_uid))).where(*_of(version)))
    return int(count or 0)


def _of(version: VersionKey) -> tuple[sa.ColumnElement[bool], ...]:
    """The instances of a version."""
    return instance.c.study_instance_uid == version.study_instance_uid, instance.c.since_version <= version.number
