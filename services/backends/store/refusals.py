"""How many callers the doors turned away, by why; who they were stands in the audit trail."""

import sqlalchemy as sa
from sqlalchemy import Engine

from services.backends.store.engine import add, reading, writing
from services.backends.store.tables import caller_refusal


class Refusals:
    """`SqlStudyStore.refusals`. Raises StoreUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def count(self, reason: str, count: int) -> None:
        """Add to those of a reason."""
        with writing(self._engine) as connection:
            add(connection, caller_refusal, {"reason": reason}, "total", count)

    def totals(self) -> dict[str, int]:
        """Reason -> how many since the database was made."""
        with reading(self._engine) as connection:
            return {row.reason: row.total for row in connection.execute(sa.select(caller_refusal))}
