"""How long a study waited for the flag that it has its place in the work list by."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store.board import FlagTimes
from services.backends.store.columns import microseconds
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


def times_since(connection: Connection, since: datetime, percents: Sequence[int]) -> FlagTimes:
    """Of all studies that got their flag since then; the database ranks them, and tells those of the ranks alone."""
    first, last = (
        (microseconds(board.c.flagged_at) - microseconds(at)).label(name)
        for name, at in (("first", board.c.first_image_at), ("last", board.c.last_image_at))
    )
    ranked = (
        sa.select(
            first,
            last,
            sa.func.row_number().over(order_by=first).label("first_rank"),
            sa.func.row_number().over(order_by=last).label("last_rank"),
            sa.func.count().over().label("studies"),
        )
        .where(board.c.flagged_at >= since)
        .subquery()
    )
    ranks = [_nearest_rank(ranked.c.studies, percent) for percent in percents]
    told = sa.or_(ranked.c.first_rank.in_(ranks), ranked.c.last_rank.in_(ranks))
    rows = connection.execute(sa.select(ranked).where(told)).all()
    if not rows:
        return FlagTimes(studies=0)
    wanted = {percent: _nearest_rank(rows[0].studies, percent) for percent in percents}
    by_first = {row.first_rank: row.first for row in rows}
    by_last = {row.last_rank: row.last for row in rows}
    return FlagTimes(
        studies=rows[0].studies,
        from_first_instance_s={percent: max(0, by_first[rank]) / 1e6 for percent, rank in wanted.items()},
        from_last_instance_s={percent: max(0, by_last[rank]) / 1e6 for percent, rank in wanted.items()},
    )


def _nearest_rank(count: Any, percent: int) -> Any:
    """Of the least value that at least so many percent do not exceed; of a number or of a column."""
    return (count * percent + 99) // 100
