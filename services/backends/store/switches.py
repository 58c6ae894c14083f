"""Models switched off and on: `SqlStudyStore.switches` is one. Each change is a transaction, and holds from then on."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from services.backends.store import audit_events, campaigns
from services.backends.store.engine import reading, writing
from services.backends.store.places import recount
from services.backends.store.tables import blind_hold, job, model_off, model_switch, result, study
from services.backends.store.withheld import runs
from services.triage.switch import EVERY, Campaign, Kept, ModelScope, Period, Switch


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRow:
    """One version of a model, by its results. version: '' where it has jobs and no result yet.

    outcomes: how many results say so, of those that are not withheld.
    """

    name: str
    version: str
    outcomes: dict[str, int]
    last_frozen_at: datetime | None


class Switches:
    """What the desk may ask and change. Raises StoreUnavailable."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

    def switch_off(self, scope: ModelScope, *, reason: str, actor: str, now: datetime) -> bool:
        """Switch off. False, and nothing changes: it is off already."""
        with writing(self._engine) as connection:
            if _since(connection, scope, lock=True) is not None:
                return False
            switch = Switch(scope=scope, on=False, at=now, actor=actor, reason=reason)
            _enter(connection, switch)
            connection.execute(sa.insert(model_off).values(**key(scope), since=now, actor=actor, reason=reason))
            recount(connection, scope)
            audit_events.switched(connection, switch)
        return True

    def switch_on(self, scope: ModelScope, *, kept: Kept, reason: str, actor: str, now: datetime) -> Campaign | None:
        """Switch on what was switched off under this scope; nothing changes where that is nothing.

        Answers the recall of what was kept, where that was chosen: until it is done, none of it is sent.
        """
        with writing(self._engine) as connection:
            since = _since(connection, scope, lock=True)
            if since is None:
                return None
            switch = Switch(scope=scope, on=True, at=now, actor=actor, reason=reason, kept=kept)
            _enter(connection, switch)
            connection.execute(sa.delete(model_off).where(*_is(scope)))
            recount(connection, scope)
            audit_events.switched(connection, switch)
            if kept is Kept.SEND:
                return None
            period = Period(since=since, until=now, kept=True)
            return campaigns.ask(connection, scope, period, reason=reason, actor=actor, now=now)

    def off(self) -> tuple[Switch, ...]:
        """What is switched off now, by its last switch."""
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(model_off).order_by(model_off.c.since))
            return tuple(
                Switch(scope=scope_of(row), on=False, at=row.since, actor=row.actor, reason=row.reason) for row in rows
            )

    def history(self, *, limit: int = 200) -> tuple[Switch, ...]:
        """Every switch, the newest first."""
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(model_switch).order_by(model_switch.c.id.desc()).limit(limit))
            return tuple(
                Switch(
                    scope=scope_of(row),
                    on=row.is_on,
                    at=row.at,
                    actor=row.actor,
                    reason=row.reason,
                    kept=Kept(row.kept) if row.kept else None,
                )
                for row in rows
            )

    def models(self, tenants: frozenset[str] | None = None) -> tuple[ModelRow, ...]:
        """Every model that has a job or a result, by name and version. tenants: of whose studies; None: of all."""
        theirs = () if tenants is None else (study.c.tenant.in_(sorted(tenants)),)
        columns = result.c.model_name, result.c.model_version, result.c.outcome
        # a model all of whose results are withheld can be switched off as well: its row is there
        told = (sa.func.count() - sa.func.count(blind_hold.c.result_id)).label("told")
        held = sa.and_(blind_hold.c.result_id == result.c.result_id, *runs(self._clock()))
        counts = (
            sa.select(*columns, told, sa.func.max(result.c.frozen_at).label("last"))
            .select_from(result)
            .outerjoin(blind_hold, held)
            .join(study, study.c.study_instance_uid == result.c.study_instance_uid)
            .where(*theirs)
            .group_by(*columns)
            .order_by(*columns)
        )
        found: dict[tuple[str, str], ModelRow] = {}
        with reading(self._engine) as connection:
            for row in connection.execute(counts):
                before = found.get((row.model_name, row.model_version))
                outcomes = {row.outcome: row.told} if row.told else {}
                found[row.model_name, row.model_version] = ModelRow(
                    name=row.model_name,
                    version=row.model_version,
                    outcomes={**(before.outcomes if before else {}), **outcomes},
                    last_frozen_at=max(row.last, before.last_frozen_at)
                    if before and before.last_frozen_at
                    else row.last,
                )
            names = {name for name, _ in found}
            for name in connection.scalars(sa.select(job.c.model_name).distinct()):
                if name not in names:
                    found[name, ""] = ModelRow(name=name, version="", outcomes={}, last_frozen_at=None)
        return tuple(found[each] for each in sorted(found))


def off_for(connection: Connection, model_name: str, tenant: str) -> frozenset[str]:
    """The versions of a model that are switched off for a tenant's studies; EVERY among them: all are."""
    rows = sa.select(model_off.c.model_version).where(
        model_off.c.model_name == model_name, model_off.c.tenant.in_([EVERY, tenant])
    )
    return frozenset(connection.scalars(rows))


def key(scope: ModelScope) -> dict[str, str]:
    """The columns of a scope."""
    return {"model_name": scope.model_name, "model_version": scope.version, "tenant": scope.tenant}


def scope_of(row: sa.Row[Any]) -> ModelScope:
    """The scope of a row that has its columns."""
    return ModelScope(model_name=row.model_name, version=row.model_version, tenant=row.tenant)


def _is(scope: ModelScope) -> tuple[sa.ColumnElement[bool], ...]:
    return tuple(model_off.c[name] == value for name, value in key(scope).items())


def _since(connection: Connection, scope: ModelScope, *, lock: bool) -> datetime | None:
    found = sa.select(model_off.c.since).where(*_is(scope))
    return connection.scalar(found.with_for_update() if lock else found)


def _enter(connection: Connection, switch: Switch) -> None:
    told = {"is_on": switch.on, "at": switch.at, "actor": switch.actor, "reason": switch.reason, "kept": switch.kept}
    connection.execute(sa.insert(model_switch).values(**key(switch.scope), **told))
