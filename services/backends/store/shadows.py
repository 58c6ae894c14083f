"""Shadow runs: `SqlStudyStore.shadows` is one. No table of jobs, results or deliveries knows of them.

Each is owed in the transaction that freezes the answer it is compared with, leased by a growing token as a job is, and
ends kept or failed.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from services.backends.store import jobs, switches, tenancy
from services.backends.store.engine import reading, writing
from services.backends.store.frozen import frozen_result
from services.backends.store.rollouts import rollout_of
from services.backends.store.tables import job, result, shadow_run
from services.backends.store.withheld import is_held
from services.observatory.paired import Pair, Side
from services.triage.errors import LeaseLost, Reason
from services.triage.finding import Flag, Outcome
from services.triage.job import JobState, Lease
from services.triage.result import Result
from services.triage.shadow import MAX_ATTEMPTS, ShadowResult, ShadowState, ShadowTask
from services.triage.switch import is_off

WORKER_DIED = Reason(code="worker_died", text="no attempt came to an end: the worker died or was lost each time")


class Shadows:
    """What a worker takes and keeps, and what is told of them. Raises StoreUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def lease(self, *, worker: str, now: datetime, duration: timedelta) -> tuple[Lease, ShadowTask] | None:
        """Take the run that is owed longest, if no job is due: those go first. None: nothing is to be done."""
        # a look without the write lock first: an idle worker disturbs nobody
        with reading(self._engine) as connection:
            if connection.execute(_due(now)).first() is None or _job_is_due(connection, now):
                return None
        with writing(self._engine) as connection:
            return _lease(connection, worker=worker, now=now, duration=duration)

    def must_yield(self, *, now: datetime) -> bool:
        """Whether a job is due, so that a run in work is to be given back."""
        with reading(self._engine) as connection:
            return _job_is_due(connection, now)

    def renew(self, lease: Lease, *, now: datetime, duration: timedelta) -> Lease:
        """Extend a lease. Raises LeaseLost: another has the run, or the study was erased."""
        expires_at = now + duration
        with writing(self._engine) as connection:
            _guarded(connection, lease, {"lease_expires_at": expires_at})
        return replace(lease, expires_at=expires_at)

    def give_back(self, lease: Lease, *, until: datetime | None = None) -> None:
        """Owe it again. Without `until` it was interrupted, and the attempt does not count. Raises LeaseLost."""
        values: dict[str, Any] = {
            "state": ShadowState.OWED,
            "worker": None,
            "lease_expires_at": None,
            "not_before": until,
        }
        if until is None:
            values["attempt"] = shadow_run.c.attempt - 1
        with writing(self._engine) as connection:
            _guarded(connection, lease, values)

    def keep(self, lease: Lease, said: ShadowResult, *, now: datetime) -> None:
        """Keep what the shadow says, once. Raises LeaseLost."""
        with writing(self._engine) as connection:
            _guarded(connection, lease, {"state": ShadowState.KEPT, "ended_at": now, **_columns(said)})

    def fail(self, lease: Lease, reason: Reason, *, now: datetime) -> None:
        """Give it up. Raises LeaseLost."""
        with writing(self._engine) as connection:
            _guarded(connection, lease, {"state": ShadowState.FAILED, "ended_at": now, "reason_code": reason.code})

    def counts(self) -> dict[tuple[str, ShadowState], int]:
        """How many there are, by model and state."""
        columns = shadow_run.c.model_name, shadow_run.c.state
        counts = sa.select(*columns, sa.func.count()).group_by(*columns)
        with reading(self._engine) as connection:
            return {(row[0], ShadowState(row[1])): row[2] for row in connection.execute(counts)}

    def pairs(self, *, since: datetime, until: datetime, now: datetime) -> tuple[Pair, ...]:
        """Answers frozen in a time, until exclusive, each with what a shadow says: of each study the newest.

        None that is withheld now: what must not be told is not told by a figure either.
        """
        with reading(self._engine) as connection:
            rows = connection.execute(_pairs(since, until, now))
            newest = {(row.study_instance_uid, row.model_name, row.model_version): row for row in rows}
        return tuple(_pair(row) for row in newest.values())


def owe(
    connection: Connection, result_id: str, said: Result, study_instance_uid: str, *, rewritten: bool, now: datetime
) -> None:
    """Owe the shadow that is in force a look at what a model has looked at. rewritten: the answer is an earlier one."""
    model = said.model
    shadow = rollout_of(connection, model.name).shadow
    if rewritten or not said.finding.outcome.analysed or shadow is None or shadow == model.version:
        return
    tenant = tenancy.tenant_of(connection, study_instance_uid)
    if is_off(shadow, switches.off_for(connection, model.name, tenant)):
        return
    connection.execute(
        sa.insert(shadow_run).values(
            shadow_id=uuid4().hex,
            study_instance_uid=study_instance_uid,
            result_id=result_id,
            model_name=model.name,
            model_version=shadow,
            state=ShadowState.OWED,
            owed_at=now,
        )
    )


def _job_is_due(connection: Connection, now: datetime) -> bool:
    due = sa.or_(job.c.not_before.is_(None), job.c.not_before <= now)
    return bool(connection.scalar(sa.select(sa.exists().where(job.c.state == JobState.QUEUED, due))))


def _due(now: datetime) -> sa.Select[tuple[str, int]]:
    """The first run that can be leased: owed, or left by a worker that died."""
    owed = sa.and_(
        shadow_run.c.state == ShadowState.OWED,
        sa.or_(shadow_run.c.not_before.is_(None), shadow_run.c.not_before <= now),
    )
    left = sa.and_(shadow_run.c.state == ShadowState.RUNNING, shadow_run.c.lease_expires_at <= now)
    return (
        sa.select(shadow_run.c.shadow_id, shadow_run.c.attempt)
        .where(sa.or_(owed, left))
        .order_by(shadow_run.c.owed_at, shadow_run.c.shadow_id)
        .limit(1)
    )


def _lease(
    connection: Connection, *, worker: str, now: datetime, duration: timedelta
) -> tuple[Lease, ShadowTask] | None:
    while (found := connection.execute(_due(now).with_for_update(skip_locked=True)).first()) is not None:
        this = sa.update(shadow_run).where(shadow_run.c.shadow_id == found.shadow_id)
        if found.attempt >= MAX_ATTEMPTS:
            connection.execute(
                this.values(state=ShadowState.FAILED, token=shadow_run.c.token + 1, ended_at=now).values(
                    reason_code=WORKER_DIED.code, lease_expires_at=None
                )
            )
            continue
        taken = {"state": ShadowState.RUNNING, "worker": worker, "lease_expires_at": now + duration, "not_before": None}
        connection.execute(this.values(**taken, token=shadow_run.c.token + 1, attempt=shadow_run.c.attempt + 1))
        row = connection.execute(sa.select(shadow_run).where(shadow_run.c.shadow_id == found.shadow_id)).one()
        given = Lease(job_id=row.shadow_id, token=row.token, worker=worker, expires_at=now + duration)
        return given, _task(connection, row)
    return None


def _task(connection: Connection, row: sa.Row[Any]) -> ShadowTask:
    of_answer = sa.select(job).join(result, result.c.job_id == job.c.job_id)
    found = connection.execute(of_answer.where(result.c.result_id == row.result_id)).one()
    answer = frozen_result(connection, row.result_id)
    if answer is None:
        raise LookupError(row.result_id)  # the foreign key forbids it
    task = replace(jobs.job_of(connection, found), model_version=row.model_version, attempt=row.attempt)
    return ShadowTask(job=task, answer=answer)


def _guarded(connection: Connection, lease: Lease, values: dict[str, Any]) -> None:
    done = connection.execute(
        sa.update(shadow_run)
        .where(
            shadow_run.c.shadow_id == lease.job_id,
            shadow_run.c.state == ShadowState.RUNNING,
            shadow_run.c.token == lease.token,
        )
        .values(values)
    )
    if done.rowcount == 0:
        raise LeaseLost(f"shadow run {lease.job_id}: token {lease.token} is no longer the run's")


def _columns(said: ShadowResult) -> dict[str, Any]:
    finding, overlap = said.finding, said.overlap
    return {
        "weights_sha256": said.model.weights_sha256,
        "outcome": finding.outcome,
        "flag": finding.flag,
        "score": finding.score,
        "reason_code": finding.reason.code if finding.reason else None,
        "lesions": len(finding.lesions),
        "timings_s": said.timings_s,
        "peak_memory_mb": said.peak_memory_mb,
        "energy_j": said.energy.joules if said.energy else None,
        "energy_source": said.energy.source if said.energy else None,
        "dice": overlap.dice if overlap else None,
        "lesions_both": overlap.both if overlap else None,
        "lesions_answer_only": overlap.answer_only if overlap else None,
        "lesions_shadow_only": overlap.shadow_only if overlap else None,
        "inference": said.inference,
    }


_OF_ANSWER = ("model_version", "outcome", "flag", "score", "timings_s", "energy_j", "inference")


def _pairs(since: datetime, until: datetime, now: datetime) -> sa.Select[Any]:
    return (
        sa.select(shadow_run, *(result.c[name].label(f"answer_{name}") for name in _OF_ANSWER), result.c.frozen_at)
        .join(result, result.c.result_id == shadow_run.c.result_id)
        .where(
            shadow_run.c.state == ShadowState.KEPT,
            result.c.frozen_at >= since,
            result.c.frozen_at < until,
            sa.not_(is_held(result.c.result_id, now)),
        )
        .order_by(result.c.frozen_at, result.c.result_id)
    )


def _pair(row: sa.Row[Any]) -> Pair:
    return Pair(
        result_id=row.result_id,
        study_instance_uid=row.study_instance_uid,
        model=row.model_name,
        frozen_at=row.frozen_at,
        answer=Side(
            version=row.answer_model_version,
            outcome=Outcome(row.answer_outcome),
            flag=Flag(row.answer_flag),
            score=row.answer_score,
            looked_s=_looked_s(row.answer_timings_s),
            energy_j=row.answer_energy_j,
            inference=row.answer_inference,
        ),
        shadow=Side(
            version=row.model_version,
            outcome=Outcome(row.outcome),
            flag=Flag(row.flag),
            score=row.score,
            looked_s=_looked_s(row.timings_s),
            energy_j=row.energy_j,
            inference=row.inference,
        ),
        dice=row.dice,
        lesions_both=row.lesions_both,
        lesions_answer_only=row.lesions_answer_only,
        lesions_shadow_only=row.lesions_shadow_only,
        lesions_shadow=row.lesions,
    )


def _looked_s(timings_s: dict[str, float]) -> float | None:
    """Of the stages that both have: an answer is written as a report, too."""
    told = [timings_s.get(stage) for stage in ("segment", "find")]
    return None if None in told else sum(seconds for seconds in told if seconds is not None)
