"""The workitem of a result, as it comes and goes with it: part of the transactions that freeze and recall."""

from datetime import datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store import history
from services.backends.store.tables import result, workitem
from services.triage.finding import Outcome
from services.triage.workitem import ProcedureStepState, asks_for_review


def schedule(connection: Connection, result_id: str, *, rewritten: bool, held: bool, actor: str, now: datetime) -> None:
    """Ask for the review of a result that was just frozen, in the place of what its model said before.

    held: the result is withheld, and a task there is in any case: its absence would tell that nothing was found.

    rewritten: the result is an earlier one under corrected patient or order data; where that was reviewed, it was
    reviewed for good.
    """
    mine = connection.execute(sa.select(result).where(result.c.result_id == result_id)).one()
    earlier = connection.execute(
        sa.select(workitem)
        .join(result, result.c.result_id == workitem.c.result_id)
        .where(
            result.c.study_instance_uid == mine.study_instance_uid,
            result.c.model_name == mine.model_name,
        )
        .order_by(result.c.version.desc(), result.c.frozen_at.desc())
    ).all()
    for row in earlier:
        _cancel(connection, row, "superseded by a newer result", actor=actor, now=now)
    newest = earlier[0] if earlier else None
    reviewed = newest is not None and newest.state == ProcedureStepState.COMPLETED
    if not (held or asks_for_review(Outcome(mine.outcome))) or (rewritten and reviewed):
        return
    connection.execute(
        sa.insert(workitem).values(
            workitem_uid=f"2.25.{uuid4().int}",
            result_id=result_id,
            study_instance_uid=mine.study_instance_uid,
            state=ProcedureStepState.SCHEDULED,
            replaces=newest.workitem_uid if newest is not None and not reviewed else None,
            told={},
            scheduled_at=now,
            modified_at=now,
        )
    )


def withdraw(
    connection: Connection, result_id: str, reason: str, *, actor: str, now: datetime, claimed: bool = True
) -> None:
    """Cancel the review of a result, unless it is done. claimed: also one that a reader has claimed."""
    row = connection.execute(sa.select(workitem).where(workitem.c.result_id == result_id)).first()
    if row is not None and (claimed or row.state == ProcedureStepState.SCHEDULED):
        _cancel(connection, row, reason, actor=actor, now=now)


def note(
    connection: Connection,
    of_result: sa.Row[Any],
    state: ProcedureStepState,
    *,
    actor: str,
    now: datetime,
    cause: str = "",
) -> None:
    """A line in the history of the result's job: 'review_in_progress', 'review_completed', ..."""
    what = f"review_{state.lower().replace(' ', '_')}"
    uid = of_result.study_instance_uid
    history.write(
        connection, [history.line(uid, "job", of_result.job_id, time=now, actor=actor, what=what, cause=cause)]
    )


def _cancel(connection: Connection, row: sa.Row[Any], reason: str, *, actor: str, now: datetime) -> None:
    done = connection.execute(
        sa.update(workitem)
        .where(
            workitem.c.workitem_uid == row.workitem_uid,
            workitem.c.state.in_([state for state in ProcedureStepState if not state.is_final]),
        )
        .values(state=ProcedureStepState.CANCELED, modified_at=now, canceled_at=now, cancel_reason=reason)
    )
    if done.rowcount:
        of_result = connection.execute(sa.select(result).where(result.c.result_id == row.result_id)).one()
        note(connection, of_result, ProcedureStepState.CANCELED, actor=actor, now=now, cause=reason)
