"""Reconciliations with a PACS: one process at a time looks, and what came of the last time is kept."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import Engine

from services.backends.store.engine import insert_new, reading, writing
from services.backends.store.tables import reconciliation


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconciled:
    """What came of one: the studies looked at, those that never came, or with fewer images, and of these fetched."""

    studies: int
    missing: int
    incomplete: int
    fetched: int


class Reconciliations:
    """Each method is one transaction. Raises StoreUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def claim(self, pacs: str, *, now: datetime, duration: timedelta) -> str | None:
        """Be the one who reconciles with this PACS; answers the claim. None: another does, and its claim lasts."""
        free = sa.or_(reconciliation.c.claim_expires_at.is_(None), reconciliation.c.claim_expires_at <= now)
        claim = uuid4().hex
        zero = dict.fromkeys(("studies", "missing", "incomplete", "fetched"), 0)
        with writing(self._engine) as connection:
            insert_new(connection, reconciliation, [{"pacs": pacs, **zero}])
            taken = connection.execute(
                sa.update(reconciliation)
                .where(reconciliation.c.pacs == pacs, free)
                .values(claim=claim, claim_expires_at=now + duration)
            )
            return claim if taken.rowcount else None

    def renew(self, claim: str, *, now: datetime, duration: timedelta) -> None:
        """Keep a claim for longer; one that another process has taken meanwhile is left to it."""
        with writing(self._engine) as connection:
            mine = sa.update(reconciliation).where(reconciliation.c.claim == claim)
            connection.execute(mine.values(claim_expires_at=now + duration))

    def finish(self, claim: str, found: Reconciled | None, *, now: datetime, day: date | None = None) -> None:
        """Let go, with what was found (None: the PACS could not be asked). day: that daily one is done."""
        values: dict[str, object] = {"claim": None, "claim_expires_at": None}
        if found is not None:
            values |= {name: getattr(found, name) for name in Reconciled.__dataclass_fields__} | {"finished_at": now}
        if day is not None:
            values["day"] = day.isoformat()
        with writing(self._engine) as connection:
            connection.execute(sa.update(reconciliation).where(reconciliation.c.claim == claim).values(**values))

    def is_due(self, pacs: str, day: date) -> bool:
        """Whether the daily one of this day is still to be done."""
        with reading(self._engine) as connection:
            done = connection.scalar(sa.select(reconciliation.c.day).where(reconciliation.c.pacs == pacs))
            return done is None or done < day.isoformat()

    def last(self) -> dict[str, tuple[datetime, Reconciled]]:
        """By PACS: when the last one was finished, and what it found."""
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(reconciliation).where(reconciliation.c.finished_at.is_not(None))).all()
        names = Reconciled.__dataclass_fields__
        return {row.pacs: (row.finished_at, Reconciled(**{name: getattr(row, name) for name in names})) for row in rows}
