"""Where the reading of a study stands, derived from what people did and answered."""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store.tables import assignment, result, study_version, verdict
from services.triage.reading import ReadAgain, Reading, ReadingAction, ReadingState, ReadingStep, reading_of
from services.triage.verdict import OWN_ASSESSMENTS, Answer

_A_MOMENT = timedelta(microseconds=1)


def reading_in(
    connection: Connection, newest: sa.Row[Any] | None, study_instance_uid: str, flagged_at: datetime | None
) -> Reading:
    """Of a study whose newest version this is; flagged_at: as `triage.reading.reading_of` has it."""
    steps = [*_verdicts(connection, study_instance_uid), *_assignments(connection, study_instance_uid)]
    if not steps:
        return Reading()
    return reading_of(steps, last_image_at=_last_image_at(connection, newest), flagged_at=flagged_at)


def reading_of_row(row: sa.Row[Any]) -> Reading:
    """As the line has it, in the columns board_is_read, board_reader, ...; no flag is told that is withheld."""
    again = ReadAgain(row.board_read_again) if row.board_read_again else None
    if again is ReadAgain.FLAGGED and row.withheld_until is not None:
        again = None
    state = state_of(is_read=row.board_is_read, reader=row.board_reader)
    return Reading(state=state, reader=row.board_reader or "", since=row.board_reader_since, again=again)


def state_of(*, is_read: bool, reader: str | None) -> ReadingState:
    """As the board's columns tell it."""
    if is_read:
        return ReadingState.READ
    return ReadingState.TAKEN if reader else ReadingState.UNREAD


def newer_images_at() -> sa.ScalarSelect[datetime]:
    """When the first images came that a row of `result` is not of; None: none did."""
    version = study_version.alias()
    return (
        sa.select(sa.func.min(version.c.opened_at))
        .where(
            version.c.study_instance_uid == result.c.study_instance_uid,
            version.c.number > result.c.version,
            sa.func.coalesce(version.c.images_since, version.c.number) == version.c.number,
        )
        .correlate(result)
        .scalar_subquery()
    )


def _assignments(connection: Connection, study_instance_uid: str) -> list[ReadingStep]:
    rows = connection.execute(
        sa.select(assignment)
        .where(assignment.c.study_instance_uid == study_instance_uid)
        .order_by(assignment.c.at, assignment.c.id)
    )
    return [ReadingStep(action=ReadingAction(row.action), reader=row.reader, at=row.at) for row in rows]


def _verdicts(connection: Connection, study_instance_uid: str) -> list[ReadingStep]:
    """The verdicts on the study as a whole that were not undone; a reader who assessed it blind is not done yet.

    One that was given to the result of earlier images, while later ones wait for theirs, is no reading of those: it
    counts as given before they came.
    """
    undoing = verdict.alias()
    rows = connection.execute(
        sa.select(verdict.c.reader, verdict.c.given_at, newer_images_at().label("newer_images_at"))
        .outerjoin(result, result.c.result_id == verdict.c.result_id)
        .outerjoin(undoing, undoing.c.undoes == verdict.c.verdict_id)
        .where(
            verdict.c.study_instance_uid == study_instance_uid,
            verdict.c.tracking_uid.is_(None),
            verdict.c.answer.not_in([Answer.UNDO, *OWN_ASSESSMENTS]),
            undoing.c.verdict_id.is_(None),
        )
        .order_by(verdict.c.given_at, verdict.c.verdict_id)
    )
    return [ReadingStep(action=ReadingAction.READ, reader=row.reader, at=_counts_at(row)) for row in rows]


def _counts_at(row: sa.Row[Any]) -> datetime:
    given_at: datetime = row.given_at
    return given_at if row.newer_images_at is None else min(given_at, row.newer_images_at - _A_MOMENT)


def _last_image_at(connection: Connection, newest: sa.Row[Any] | None) -> datetime | None:
    """When the newest image came, whatever else opened versions since."""
    if newest is None:
        return None
    number = newest.images_since or newest.number
    at: datetime | None = connection.scalar(
        sa.select(study_version.c.last_image_at).where(
            study_version.c.study_instance_uid == newest.study_instance_uid, study_version.c.number == number
        )
    )
    return at
