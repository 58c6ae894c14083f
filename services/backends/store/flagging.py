"""How long a study waited for the flag that it has its place in the work list by."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store.board import TimeToFlag
from services.backends.store.tables import board, job, result, study_version
from services.triage.finding import Outcome

_NEVER: dict[str, datetime | None] = {"flagged_at": None, "first_image_at": None, "last_image_at": None}


def flagged(connection: Connection, placing: Sequence[Any]) -> dict[str, datetime | None]:
    """The board's columns of a study whose place these results give it, the leading one first.

    Of one that was only written again for another identity it is the analysis that counts. None where no model has
    looked, or where a person asked for another look: then nobody waited since the images came.
    """
    if not placing:
        return _NEVER
    row = placing[0]
    while (earlier := connection.scalar(sa.select(job.c.reconciles).where(job.c.job_id == row.job_id))) is not None:
        row = connection.execute(sa.select(result).where(result.c.result_id == earlier)).one()
    version = connection.execute(
        sa.select(study_version).where(
            study_version.c.study_instance_uid == row.study_instance_uid, study_version.c.number == row.version
        )
    ).one()
    if not Outcome(row.outcome).analysed or version.rerun:
        return _NEVER
    return {"flagged_at": row.frozen_at, "first_image_at": version.opened_at, "last_image_at": version.last_image_at}


def times_since(connection: Connection, since: datetime) -> tuple[TimeToFlag, ...]:
    """Of every study that got its flag since then."""
    columns = board.c.flagged_at, board.c.first_image_at, board.c.last_image_at
    rows = connection.execute(sa.select(*columns).where(board.c.flagged_at >= since))
    return tuple(TimeToFlag.between(first, last, at) for at, first, last in rows)
