"""What is frozen and must not be seen yet; delivery, DICOMweb and the desk's pages ask here."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from services.backends.store.tables import blind_hold, delivery


def is_held(result_id: Any, now: datetime) -> sa.ColumnElement[bool]:
    """Of a column of result ids: its result is withheld until a reader has assessed the study, or its time is up."""
    return sa.exists().where(blind_hold.c.result_id == result_id, *runs(now))


def runs(now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    """Of a hold: it withholds. It ends by itself at its time, whether or not anybody has written that down."""
    return blind_hold.c.ended_at.is_(None), blind_hold.c.until > now


def may_leave(now: datetime, of: Any = delivery) -> sa.ColumnElement[bool]:
    """Of a delivery: nothing withholds its result at this time."""
    return sa.not_(is_held(of.c.result_id, now))
