"""What the observatory reads and keeps: `SqlStudyStore.observations` is one. Each batch is a transaction of its own."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy import Connection, Engine

from services.backends.store import result_traits as traits_of
from services.backends.store.engine import insert_new, put, reading, writing
from services.backends.store.tables import (
    blind_hold,
    job,
    observation,
    observing,
    recall,
    result,
    result_traits,
    study,
    study_version,
)
from services.backends.store.verdicts import answers
from services.backends.store.versions import attributes_of
from services.backends.store.withheld import runs
from services.observatory.figures import Figures
from services.observatory.record import Record, Traits, judge
from services.triage.finding import Flag, Outcome
from services.triage.job import JobState
from services.triage.result import EnergySource
from services.triage.study import StudyAttributes
from services.triage.verdict import Verdict

_BATCH = 1000
_TURN = "observatory"
_FIGURES = TypeAdapter(Figures)
_OF_RESULT = (
    "result_id",
    "study_instance_uid",
    "model_name",
    "model_version",
    "frozen_at",
    "outcome",
    "reason_code",
    "flag",
    "score",
    "calibrated",
    "lesions",
    "timings_s",
    "energy_j",
    "energy_source",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What was found last of a model version."""

    computed_at: datetime
    figures: Figures


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Results frozen in a time, until exclusive; of one model version, or of any."""

    since: datetime
    until: datetime
    model: str | None = None
    model_version: str | None = None


class Observations:
    """Raises StoreUnavailable."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

    def records(self, span: Span) -> Iterator[Record]:
        """Of each study the newest analysis in the span by each model version, oldest first; one batch at a time.

        None that is withheld now, however far the span goes on: what must not be told is not told by a figure either.
        """
        now = self._clock()
        after: tuple[datetime, str] | None = None
        while True:
            with reading(self._engine) as connection:
                rows = connection.execute(_analyses(span, after, now).limit(_BATCH)).all()
                records = _records(connection, rows)
            yield from records
            if len(rows) < _BATCH:
                return
            after = rows[-1].frozen_at, rows[-1].result_id

    def models(self, span: Span) -> list[tuple[str, str, int]]:
        """Name, version and number of results of those that answered, the most used first."""
        count = sa.func.count().label("results")
        columns = result.c.model_name, result.c.model_version
        query = sa.select(*columns, count).where(result.c.frozen_at >= span.since, result.c.frozen_at < span.until)
        with reading(self._engine) as connection:
            rows = connection.execute(query.group_by(*columns).order_by(count.desc(), *columns))
            return [(row.model_name, row.model_version, row.results) for row in rows]

    def out_of_scope(self, span: Span) -> dict[str, int]:
        """How many versions of studies no rule claimed, by the code of the reason."""
        code, completed = study_version.c.out_of_scope_code, study_version.c.completed_at
        query = sa.select(code, sa.func.count()).where(
            code.is_not(None), completed >= span.since, completed < span.until
        )
        with reading(self._engine) as connection:
            return {row[0]: row[1] for row in connection.execute(query.group_by(code))}

    def oldest_queued_at(self) -> datetime | None:
        """Since when the oldest job waits that no worker has taken."""
        with reading(self._engine) as connection:
            since: datetime | None = connection.scalar(
                sa.select(sa.func.min(job.c.queued_at)).where(job.c.state == JobState.QUEUED)
            )
            return since

    def energy_j(self) -> dict[tuple[str, str], float]:
        """Joules of all analyses by (model name, source)."""
        columns = result.c.model_name, result.c.energy_source
        query = sa.select(*columns, sa.func.sum(result.c.energy_j)).where(result.c.energy_j.is_not(None))
        with reading(self._engine) as connection:
            return {(row[0], row[1]): float(row[2]) for row in connection.execute(query.group_by(*columns))}

    def attributes(self, study_instance_uids: Sequence[str]) -> dict[str, StudyAttributes]:
        """Whose the studies are, for those who may see it."""
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(study).where(study.c.study_instance_uid.in_(study_instance_uids)))
            return {row.study_instance_uid: attributes_of(row) for row in rows}

    def fill(self) -> int:
        """Read the traits of results that were frozen without them; answers of how many."""
        filled = 0
        while True:
            with writing(self._engine) as connection:
                batch = traits_of.fill(connection, limit=_BATCH)
            filled += batch
            if batch < _BATCH:
                return filled

    def take_turn(self, *, now: datetime, interval: timedelta) -> bool:
        """Be the one who looks now; everybody else, and we too, wait for the interval."""
        with writing(self._engine) as connection:
            insert_new(connection, observing, [{"turn": _TURN, "next_at": now}])
            due = sa.update(observing).where(observing.c.turn == _TURN, observing.c.next_at <= now)
            return connection.execute(due.values(next_at=now + interval)).rowcount == 1

    def keep(self, observations: Sequence[Observation]) -> None:
        """Take these for the newest; of a model version that is not among them, none is kept."""
        rows = [
            {
                "model_name": one.figures.scope.model,
                "model_version": one.figures.scope.model_version,
                "computed_at": one.computed_at,
                "figures": _FIGURES.dump_json(one.figures).decode(),
            }
            for one in observations
        ]
        with writing(self._engine) as connection:
            connection.execute(sa.delete(observation))
            put(connection, observation, rows)

    def kept(self) -> tuple[Observation, ...]:
        """The newest."""
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(observation).order_by(*observation.primary_key.columns))
            return tuple(
                Observation(computed_at=row.computed_at, figures=_FIGURES.validate_json(row.figures)) for row in rows
            )


def _analyses(span: Span, after: tuple[datetime, str] | None, now: datetime) -> sa.Select[Any]:
    """One row per study and model version: what only wrote a result again under another identity is no analysis."""
    later, of_later = result.alias(), job.alias()
    superseded = sa.exists().where(
        later.c.study_instance_uid == result.c.study_instance_uid,
        # no bare column: SQLite would take the index of models, and read for each result all later ones of its model
        later.c.model_name.concat("") == result.c.model_name,
        later.c.model_version == result.c.model_version,
        later.c.frozen_at < span.until,
        sa.tuple_(later.c.frozen_at, later.c.result_id) > sa.tuple_(result.c.frozen_at, result.c.result_id),
        of_later.c.job_id == later.c.job_id,
        of_later.c.reconciles.is_(None),
    )
    query = (
        sa.select(
            *(result.c[name] for name in _OF_RESULT),
            job.c.queued_at,
            study_version.c.last_image_at,
            study_version.c.rerun,
            study.c.tenant,
            recall.c.recalled_at,
            blind_hold.c.since.label("held_since"),
            *(column for column in result_traits.c if column.name != "result_id"),
        )
        .join(job, job.c.job_id == result.c.job_id)
        .join(
            study_version,
            sa.and_(
                study_version.c.study_instance_uid == result.c.study_instance_uid,
                study_version.c.number == result.c.version,
            ),
        )
        .join(study, study.c.study_instance_uid == result.c.study_instance_uid)
        .outerjoin(recall, recall.c.result_id == result.c.result_id)
        .outerjoin(blind_hold, blind_hold.c.result_id == result.c.result_id)
        .outerjoin(result_traits, result_traits.c.result_id == result.c.result_id)
        .where(result.c.frozen_at >= span.since, result.c.frozen_at < span.until)
        .where(job.c.reconciles.is_(None), ~superseded, _is_told(now))
        .order_by(result.c.frozen_at, result.c.result_id)
    )
    if span.model is not None:
        query = query.where(result.c.model_name == span.model)
    if span.model_version is not None:
        query = query.where(result.c.model_version == span.model_version)
    if after is not None:
        query = query.where(sa.tuple_(result.c.frozen_at, result.c.result_id) > sa.tuple_(*_bound(after)))
    return query


def _is_told(now: datetime) -> sa.ColumnElement[bool]:
    """Of a result and its hold, if it has one: it is not withheld."""
    return sa.or_(blind_hold.c.result_id.is_(None), sa.not_(sa.and_(*runs(now))))


def _bound(after: tuple[datetime, str]) -> tuple[Any, Any]:
    return sa.literal(after[0], result.c.frozen_at.type), sa.literal(after[1], result.c.result_id.type)


def _records(connection: Connection, rows: Sequence[sa.Row[Any]]) -> list[Record]:
    given = answers(connection, sorted({row.study_instance_uid for row in rows}))
    return [_record(row, given[row.result_id]) for row in rows]


def _record(row: sa.Row[Any], given: Sequence[Verdict]) -> Record:
    outcome = Outcome(row.outcome)
    worked_s = sum(seconds for stage, seconds in row.timings_s.items() if "." not in stage)
    flags = outcome.analysed and not row.rerun  # nobody waited for a second look since the images came
    return Record(
        result_id=row.result_id,
        study_instance_uid=row.study_instance_uid,
        model=row.model_name,
        model_version=row.model_version,
        frozen_at=row.frozen_at,
        outcome=outcome,
        reason=row.reason_code or "",
        flag=Flag(row.flag),
        score=row.score,
        calibrated=row.calibrated,
        judgement=judge(outcome, row.lesions, given),
        traits=Traits(
            sex=row.sex or "",
            age_years=row.age_years,
            device=f"{row.manufacturer or ''} {row.manufacturer_model_name or ''}".strip(),
            kernel=row.convolution_kernel or "",
            slice_thickness_mm=row.slice_thickness_mm,
            site=row.tenant,
        ),
        recalled=row.recalled_at is not None,
        to_flag_s=max(0.0, (row.frozen_at - row.last_image_at).total_seconds()) if flags else None,
        waited_s=max(0.0, (row.frozen_at - row.queued_at).total_seconds() - worked_s),
        energy_j=row.energy_j,
        held=row.held_since is not None,
        energy_measured=row.energy_source == EnergySource.MEASURED,
    )
