"""Taking, releasing and reading studies, append-only: `SqlStudyStore.readings` is one."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from services.backends.store import audit_events, history, reviews, summary
from services.backends.store.engine import locked, writing
from services.backends.store.reading_state import state_of
from services.backends.store.tables import assignment, board, workitem
from services.triage.audit_types import AuditType
from services.triage.errors import ReadingRefused
from services.triage.reading import ReadingAction, ReadingState, ReadingStep
from services.triage.workitem import ProcedureStepState

_BECOMES = {
    ReadingAction.TAKEN: ReadingState.TAKEN,
    ReadingAction.RELEASED: ReadingState.UNREAD,
    ReadingAction.READ: ReadingState.READ,
    ReadingAction.REOPENED: ReadingState.UNREAD,
}


class Readings:
    """What a reader may do in the list. Raises StoreUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def enter(self, study_instance_uid: str, step: ReadingStep, *, seen: str | None = None) -> bool:
        """Keep a step. False, and nothing changes: it is so already.

        seen: who had the study as far as the reader could see, '' for nobody; None: whoever has it. Where another has
        it by now, nothing is taken from them unawares. Raises ReadingRefused: unknown_study, taken, read, not_yours.
        """
        with writing(self._engine) as connection:
            locked(connection, [study_instance_uid])
            if not _changes(connection, study_instance_uid, step, seen):
                return False
            uid, told = study_instance_uid, {"action": step.action, "reader": step.reader, "at": step.at}
            connection.execute(sa.insert(assignment).values(study_instance_uid=uid, **told))
            line = history.line(uid, "study", "study", time=step.at, actor=step.reader, what=step.action)
            history.write(connection, [line])
            settle(connection, uid, actor=step.reader, now=step.at)
            audit_events.of_a_study(
                connection, AuditType.READING, uid, actor=step.reader, now=step.at, action=step.action.value
            )
        return True


def settle(connection: Connection, study_instance_uid: str, *, actor: str, now: datetime) -> None:
    """After a step or a verdict: derive the study's line, and ask nobody to review what is read."""
    summary.refresh(connection, study_instance_uid)
    mine = board.c.study_instance_uid == study_instance_uid
    if not connection.scalar(sa.select(board.c.is_read).where(mine)):
        return
    waiting = sa.select(workitem.c.result_id).where(
        workitem.c.study_instance_uid == study_instance_uid, workitem.c.state == ProcedureStepState.SCHEDULED
    )
    for result_id in connection.scalars(waiting).all():
        reviews.withdraw(connection, result_id, "read in the work list", actor=actor, now=now)


def _changes(connection: Connection, study_instance_uid: str, step: ReadingStep, seen: str | None) -> bool:
    row = connection.execute(
        sa.select(board.c.is_read, board.c.reader).where(board.c.study_instance_uid == study_instance_uid)
    ).first()
    if row is None:
        raise ReadingRefused("unknown_study", "no instance of this study was kept")
    holder = row.reader or ""
    state = state_of(is_read=row.is_read, reader=holder)
    if step.action is ReadingAction.RELEASED and state is ReadingState.TAKEN and holder != step.reader:
        raise ReadingRefused("not_yours", "a study is given back by who has it")
    if (state, step.action) == (ReadingState.READ, ReadingAction.TAKEN):
        raise ReadingRefused("read", f"{holder} has read it: open it again first")
    unawares = seen is not None and holder not in (seen, step.reader, "")
    if unawares and step.action in (ReadingAction.TAKEN, ReadingAction.READ):
        raise ReadingRefused("taken", f"{holder} has taken it meanwhile")
    becomes = _BECOMES[step.action]
    if step.action is ReadingAction.REOPENED:
        return state is ReadingState.READ
    return state is not becomes or (becomes is ReadingState.TAKEN and holder != step.reader)
