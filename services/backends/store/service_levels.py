"""Flags in time and late, over windows: what the service level objective of the time to flag is measured by."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store.board import ShownState
from services.backends.store.columns import microseconds
from services.backends.store.tables import board


def flags(
    connection: Connection, windows: Sequence[timedelta], *, target: timedelta, now: datetime
) -> Mapping[timedelta, tuple[int, int]]:
    """(in time, late) of each window: studies flagged in it, by whether that took longer than the target.

    Since a study's last image. A complete study that waits for longer than that is late now, in every window: what
    never comes must not look well.
    """
    micro = target // timedelta(microseconds=1)
    took = microseconds(board.c.flagged_at) - microseconds(board.c.last_image_at)
    counts = []
    for window in windows:
        inside = board.c.flagged_at >= now - window
        counts += [
            sa.func.count(sa.case((sa.and_(inside, took <= micro), 1))),
            sa.func.count(sa.case((sa.and_(inside, took > micro), 1))),
        ]
    row = connection.execute(sa.select(*counts).where(board.c.flagged_at >= now - max(windows))).one()
    waiting = connection.scalar(
        sa.select(sa.func.count()).where(
            board.c.state.in_([ShownState.QUEUED, ShownState.ANALYSING]), board.c.last_instance_at < now - target
        )
    )
    return {
        window: (int(row[2 * place]), int(row[2 * place + 1]) + int(waiting or 0))
        for place, window in enumerate(windows)
    }
