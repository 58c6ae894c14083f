"""The worklist of reviews (PS3.4 annex CC): what is asked of it by UPS-RS, each change one transaction."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from services.backends.store import reviews
from services.backends.store.archive import StudyFilter, conditions_of
from services.backends.store.board import ObjectRow
from services.backends.store.detail import model_of, reason_of
from services.backends.store.engine import locked, reading, writing
from services.backends.store.sight import EVERYTHING, Sight
from services.backends.store.tables import board, result, result_object, study, workitem
from services.backends.store.versions import attributes_of
from services.backends.store.withheld import is_held
from services.triage.errors import Reason, WorkitemRefused
from services.triage.finding import Flag, Outcome
from services.triage.job import OrderPriority
from services.triage.model import ModelIdentity
from services.triage.study import StudyAttributes
from services.triage.workitem import (
    PERFORMED,
    ProcedureStepState,
    next_state,
    require_final_state,
    require_open,
    require_owner,
)

ACTOR = "ups-rs"
"""Who changes a workitem, in the history, where nobody has to sign in: a claim names nobody."""

_ROWS = (
    sa.select(
        study,
        *(column.label(f"workitem_{column.name}") for column in workitem.c),
        *(column.label(f"result_{column.name}") for column in result.c),
        board.c.priority,
        board.c.urgency,
        board.c.modalities,
    )
    .join_from(workitem, study, study.c.study_instance_uid == workitem.c.study_instance_uid)
    .join(result, result.c.result_id == workitem.c.result_id)
    .join(board, board.c.study_instance_uid == workitem.c.study_instance_uid)
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Workitem:
    """The review of a result. `priority`: the order's. `urgent`: the AI's flag puts the study on top of its priority.

    told: what others set, in the DICOM JSON Model. replaces: the workitem that it takes the place of. objects: those
    of the result, its rejection note left out. Its Transaction UID is nobody's but its owner's, and never told.
    withheld: what the result says is not to be told yet; the outcome to `objects` are those of one that says nothing.
    """

    uid: str
    state: ProcedureStepState
    study: StudyAttributes
    modalities: tuple[str, ...]
    priority: OrderPriority
    urgent: bool
    result_id: str
    model: ModelIdentity
    series_instance_uid: str | None
    outcome: Outcome
    flag: Flag
    score: float | None
    calibrated: bool
    lesion_count: int
    reason: Reason | None
    objects: tuple[ObjectRow, ...]
    told: Mapping[str, Any]
    replaces: str | None
    scheduled_at: datetime
    modified_at: datetime
    canceled_at: datetime | None
    cancel_reason: str | None
    withheld: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkitemFilter:
    """Narrows a search in SQL, and like `StudyFilter` never leaves out a match. Of states and UIDs: any; none: all."""

    uids: Sequence[str] = ()
    states: Collection[ProcedureStepState] = ()
    of_study: StudyFilter = field(default_factory=StudyFilter)


class Changed(StrEnum):
    """What became of a change: done, needless (it was in this final state already), or there is no such workitem."""

    DONE = "done"
    ALREADY = "already"
    UNKNOWN = "unknown"


class Workitems:
    """What UPS-RS may ask and change. Raises StoreUnavailable; a change also WorkitemRefused."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime], sight: Sight = EVERYTHING) -> None:
        self._engine = engine
        self._clock = clock
        self._sight = sight

    def find(self, narrowed: WorkitemFilter, *, limit: int, offset: int) -> list[Workitem]:
        """In the order of the work list (`triage.reading.rank`)."""
        now = self._clock()
        rows = _ROWS.add_columns(is_held(workitem.c.result_id, now).label("withheld"))
        rows = rows.where(*conditions_of(narrowed.of_study, now), *self._sight.conditions())
        if narrowed.uids:
            rows = rows.where(workitem.c.workitem_uid.in_(narrowed.uids))
        if narrowed.states:
            rows = rows.where(workitem.c.state.in_(sorted(narrowed.states)))
        rows = rows.order_by(board.c.rank, board.c.study_instance_uid, workitem.c.workitem_uid)
        with reading(self._engine) as connection:
            return _workitems(connection, connection.execute(rows.limit(limit).offset(offset)).all())

    def get(self, uid: str, *, tenant: str | None = None) -> Workitem | None:
        """One, None if it is unknown. tenant: of whose study it must be; None: of anybody's."""
        narrowed = WorkitemFilter(uids=[uid], of_study=StudyFilter(tenant=tenant))
        return next(iter(self.find(narrowed, limit=1, offset=0)), None)

    def change_state(
        self, uid: str, wanted: ProcedureStepState, *, transaction_uid: str, now: datetime, actor: str = ACTOR
    ) -> Changed:
        """Claim, complete or cancel it (PS3.4 CC.2.1). Of two claims one wins."""
        with writing(self._engine) as connection:
            row = _locked_row(connection, uid)
            if row is None:
                return Changed.UNKNOWN
            current = ProcedureStepState(row.state)
            if next_state(current, wanted, given=transaction_uid, held=row.transaction_uid) is current:
                return Changed.ALREADY
            require_final_state(wanted, row.told)
            values: dict[str, Any] = {"transaction_uid": transaction_uid}
            if wanted is ProcedureStepState.CANCELED:
                values["canceled_at"] = now
            _change(connection, row, wanted, values, actor=actor, now=now)
        return Changed.DONE

    def update(self, uid: str, told: Mapping[str, Any], *, transaction_uid: str, now: datetime) -> Changed:
        """Set attributes (PS3.4 CC.2.6): by its owner once it is claimed; what was performed, never before that."""
        with writing(self._engine) as connection:
            row = _locked_row(connection, uid)
            if row is None:
                return Changed.UNKNOWN
            require_open(ProcedureStepState(row.state))
            if row.state == ProcedureStepState.IN_PROGRESS:
                require_owner(transaction_uid, row.transaction_uid)
            elif PERFORMED in told:
                raise WorkitemRefused("not_in_progress", "what was performed can be told once it is claimed (C310)")
            mine = workitem.c.workitem_uid == uid
            connection.execute(sa.update(workitem).where(mine).values(told={**row.told, **told}, modified_at=now))
        return Changed.DONE

    def request_cancel(self, uid: str, *, reason: str, now: datetime, actor: str = ACTOR) -> Changed:
        """Cancel it on the request of somebody who does not own it (PS3.4 CC.2.2)."""
        with writing(self._engine) as connection:
            row = _locked_row(connection, uid)
            if row is None:
                return Changed.UNKNOWN
            if row.state == ProcedureStepState.CANCELED:
                return Changed.ALREADY
            if row.state == ProcedureStepState.COMPLETED:
                raise WorkitemRefused("already_completed", "the workitem is COMPLETED (C311)")
            if row.state == ProcedureStepState.IN_PROGRESS:
                raise WorkitemRefused("performer_not_reachable", "whoever claimed it cannot be told of it (C312)")
            values = {"canceled_at": now, "cancel_reason": reason}
            _change(connection, row, ProcedureStepState.CANCELED, values, actor=actor, now=now, cause=reason)
        return Changed.DONE


def _locked_row(connection: Connection, uid: str) -> sa.Row[Any] | None:
    """Its row once its study is locked: whoever changes it waits here."""
    row = sa.select(workitem).where(workitem.c.workitem_uid == uid)
    found = connection.execute(row).first()
    if found is None:
        return None
    locked(connection, [found.study_instance_uid])
    return connection.execute(row).first()


def _change(
    connection: Connection,
    row: sa.Row[Any],
    state: ProcedureStepState,
    values: Mapping[str, Any],
    *,
    actor: str,
    now: datetime,
    cause: str = "",
) -> None:
    mine = workitem.c.workitem_uid == row.workitem_uid
    connection.execute(sa.update(workitem).where(mine).values(state=state, modified_at=now, **values))
    of_result = connection.execute(sa.select(result).where(result.c.result_id == row.result_id)).one()
    reviews.note(connection, of_result, state, actor=actor, now=now, cause=cause)


def _workitems(connection: Connection, rows: Sequence[sa.Row[Any]]) -> list[Workitem]:
    objects: dict[str, list[ObjectRow]] = defaultdict(list)
    of_results = connection.execute(
        sa.select(result_object)
        .where(result_object.c.result_id.in_([row.result_result_id for row in rows]), sa.not_(result_object.c.note))
        .order_by(result_object.c.position)
    )
    for row in of_results:
        told = {name: getattr(row, name) for name in ObjectRow.__dataclass_fields__}
        objects[row.result_id].append(ObjectRow(**told))
    return [_workitem(row, tuple(objects[row.result_result_id])) for row in rows]


def _workitem(row: sa.Row[Any], objects: tuple[ObjectRow, ...]) -> Workitem:
    return Workitem(
        uid=row.workitem_workitem_uid,
        state=ProcedureStepState(row.workitem_state),
        study=attributes_of(row),
        modalities=row.modalities,
        priority=OrderPriority(row.priority),
        urgent=row.urgency == 0,
        result_id=row.result_result_id,
        model=model_of(row.result_model_name, row.result_model_version, row.result_weights_sha256),
        series_instance_uid=row.result_series_instance_uid,
        outcome=Outcome.NOTHING_FOUND if row.withheld else Outcome(row.result_outcome),
        flag=Flag.ROUTINE if row.withheld else Flag(row.result_flag),
        score=None if row.withheld else row.result_score,
        calibrated=row.result_calibrated and not row.withheld,
        lesion_count=0 if row.withheld else len(row.result_lesions),
        reason=reason_of(row.result_reason_code, row.result_reason_text),
        objects=() if row.withheld else objects,
        told=row.workitem_told,
        replaces=row.workitem_replaces,
        scheduled_at=row.workitem_scheduled_at,
        modified_at=row.workitem_modified_at,
        canceled_at=row.workitem_canceled_at,
        cancel_reason=row.workitem_cancel_reason,
        withheld=row.withheld,
    )
