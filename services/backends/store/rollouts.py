"""Which version of a model has which part: `SqlStudyStore.rollouts` is one. A decision holds from the next lease on."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from services.backends.store import audit_events
from services.backends.store.engine import audit_held, reading, writing
from services.backends.store.tables import job, model_rollout, shadow_run
from services.triage.errors import RolloutRefused
from services.triage.job import JobState
from services.triage.rollout import (
    Canary,
    Decision,
    Rollout,
    Step,
    promoted,
    rolled_back,
    with_canary,
    with_shadow,
)
from services.triage.shadow import ShadowState

_Change = Callable[[Rollout, tuple[Decision, ...]], Rollout]


class Rollouts:
    """What is decided and asked. standing: the catalogue's standing version.

    Raises StoreUnavailable, RolloutRefused.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def promote(self, name: str, version: str, *, standing: str, actor: str, reason: str, now: datetime) -> Rollout:
        """Make a version the active one; a canary ends with it."""
        return self._decide(
            name, Step.PROMOTE, lambda found, _: promoted(found, version, standing=standing), actor, reason, now
        )

    def canary(
        self, name: str, canary: Canary | None, *, standing: str, actor: str, reason: str, now: datetime
    ) -> Rollout:
        """Give a version a share of the studies; None: no more."""

        def change(found: Rollout, _: tuple[Decision, ...]) -> Rollout:
            if canary is not None:
                return with_canary(found, canary, standing=standing)
            if found.canary is None:
                raise RolloutRefused("no_canary", f"{name} has no canary")
            return replace(found, canary=None)

        return self._decide(name, Step.CANARY if canary else Step.END_CANARY, change, actor, reason, now)

    def shadow(
        self, name: str, version: str | None, *, standing: str, actor: str, reason: str, now: datetime
    ) -> Rollout:
        """Have a version look at what is answered from now on; None: no more."""

        def change(found: Rollout, _: tuple[Decision, ...]) -> Rollout:
            if version is not None:
                return with_shadow(found, version, standing=standing)
            if found.shadow is None:
                raise RolloutRefused("no_shadow", f"{name} has no shadow")
            return replace(found, shadow=None)

        return self._decide(name, Step.SHADOW if version else Step.END_SHADOW, change, actor, reason, now)

    def roll_back(self, name: str, *, standing: str, actor: str, reason: str, now: datetime) -> Rollout:
        """Take back the newest change of who answers: the canary where there is one, else the last promotion."""
        return self._decide(
            name, Step.ROLL_BACK, lambda _, history: rolled_back(history, standing=standing), actor, reason, now
        )

    def planned_back(self, name: str, *, standing: str) -> Rollout:
        """What rolling back would make of it now."""
        return rolled_back(self.history(name), standing=standing)

    def of(self, name: str) -> Rollout:
        """What is in force for a model."""
        with reading(self._engine) as connection:
            return rollout_of(connection, name)

    def in_force(self) -> tuple[Decision, ...]:
        """The last decision about each model, by its name."""
        newest = sa.select(sa.func.max(model_rollout.c.id)).group_by(model_rollout.c.model_name)
        rows = sa.select(model_rollout).where(model_rollout.c.id.in_(newest)).order_by(model_rollout.c.model_name)
        with reading(self._engine) as connection:
            return tuple(_decision(row) for row in connection.execute(rows))

    def history(self, name: str) -> tuple[Decision, ...]:
        """Every decision about a model, the oldest first."""
        with reading(self._engine) as connection:
            return _history(connection, name)

    def in_work(self, name: str) -> frozenset[str | None]:
        """The versions that leases of jobs and shadow runs hold; None: the standing one."""
        jobs = sa.select(job.c.model_version).where(
            job.c.model_name == name, job.c.state == JobState.ANALYSING, job.c.reconciles.is_(None)
        )
        shadows = sa.select(shadow_run.c.model_version).where(
            shadow_run.c.model_name == name, shadow_run.c.state == ShadowState.RUNNING
        )
        with reading(self._engine) as connection:
            return frozenset(connection.scalars(sa.union(jobs, shadows)))

    def is_awaited(self, name: str) -> bool:
        """Whether a job waits for a model, of whichever version, or is in work."""
        waiting = sa.select(job.c.job_id).where(
            job.c.model_name == name,
            job.c.state.in_([JobState.QUEUED, JobState.ANALYSING]),
            job.c.reconciles.is_(None),
        )
        with reading(self._engine) as connection:
            return connection.scalar(waiting.limit(1)) is not None

    def _decide(self, name: str, step: Step, change: _Change, actor: str, reason: str, now: datetime) -> Rollout:
        with writing(self._engine) as connection:
            audit_held(connection)  # two decisions about one model, one after the other
            history = _history(connection, name)
            found = history[-1].rollout if history else Rollout(model_name=name)
            decision = Decision(step=step, rollout=change(found, history), at=now, actor=actor, reason=reason)
            connection.execute(sa.insert(model_rollout).values(**_row(decision)))
            _forget_owed(connection, decision.rollout)
            audit_events.rolled_out(connection, decision)
        return decision.rollout


def rollout_of(connection: Connection, name: str) -> Rollout:
    """What is in force for a model."""
    newest = sa.select(model_rollout).where(model_rollout.c.model_name == name).order_by(model_rollout.c.id.desc())
    row = connection.execute(newest.limit(1)).first()
    return Rollout(model_name=name) if row is None else _decision(row).rollout


def _forget_owed(connection: Connection, rollout: Rollout) -> None:
    """What waits for a version that is no shadow any more will not be looked at."""
    connection.execute(
        sa.delete(shadow_run).where(
            shadow_run.c.model_name == rollout.model_name,
            shadow_run.c.state == ShadowState.OWED,
            shadow_run.c.model_version != (rollout.shadow or ""),
        )
    )


def _history(connection: Connection, name: str) -> tuple[Decision, ...]:
    rows = sa.select(model_rollout).where(model_rollout.c.model_name == name).order_by(model_rollout.c.id)
    return tuple(_decision(row) for row in connection.execute(rows))


def _row(decision: Decision) -> dict[str, Any]:
    rollout = decision.rollout
    return {
        "model_name": rollout.model_name,
        "step": decision.step,
        "active": rollout.active,
        "canary": rollout.canary.version if rollout.canary else None,
        "canary_share": rollout.canary.share if rollout.canary else None,
        "shadow": rollout.shadow,
        "at": decision.at,
        "actor": decision.actor,
        "reason": decision.reason,
    }


def _decision(row: sa.Row[Any]) -> Decision:
    canary = None if row.canary is None else Canary(version=row.canary, share=row.canary_share)
    return Decision(
        step=Step(row.step),
        rollout=Rollout(model_name=row.model_name, active=row.active, canary=canary, shadow=row.shadow),
        at=row.at,
        actor=row.actor,
        reason=row.reason,
    )
