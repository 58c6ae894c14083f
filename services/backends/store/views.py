"""Saved views: filters of the work list, by name. `SqlStudyStore.views` is one."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Engine

from services.backends.store.engine import put, reading, writing
from services.backends.store.tables import saved_view

LONGEST_NAME = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedView:
    """A filter as a query string, which never holds what was searched for. shared: everybody sees it."""

    owner: str
    name: str
    query: str
    shared: bool


class SavedViews:
    """What people keep. Raises StoreUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def of(self, person: str) -> tuple[SavedView, ...]:
        """A person's own and those that are shared, by name."""
        mine = sa.or_(saved_view.c.owner == person, saved_view.c.shared)
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(saved_view).where(mine).order_by(saved_view.c.name, saved_view.c.owner))
            return tuple(SavedView(owner=row.owner, name=row.name, query=row.query, shared=row.shared) for row in rows)

    def save(self, view: SavedView, *, now: datetime) -> None:
        """Keep a view; it takes the place of the owner's of this name."""
        told = {"owner": view.owner, "name": view.name, "query": view.query, "shared": view.shared, "saved_at": now}
        with writing(self._engine) as connection:
            put(connection, saved_view, [told])

    def delete(self, name: str, *, owner: str) -> bool:
        """Take one's own away; False: the person has no such view."""
        mine = sa.and_(saved_view.c.owner == owner, saved_view.c.name == name)
        with writing(self._engine) as connection:
            return connection.execute(sa.delete(saved_view).where(mine)).rowcount > 0
