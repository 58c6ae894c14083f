"""What makes sessions at the desk hold in every process: one key, and those that were ended before their time."""

import secrets
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Engine

from services.backends.store.engine import insert_new, reading, writing
from services.backends.store.tables import ended_session, kept_secret


class Sessions:
    """`SqlStudyStore.sessions`. Raises StoreUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def secret(self, name: str) -> str:
        """A secret that is made the first time that anybody asks for it, and is the same for all from then on."""
        found = self._secret(name)
        if found is None:
            with writing(self._engine) as connection:
                insert_new(connection, kept_secret, [{"name": name, "value": secrets.token_urlsafe(32)}])
            found = self._secret(name)
        assert found is not None  # noqa: S101 - inserted above, by us or by another
        return found

    def end(self, session_id: str, *, forget_at: datetime, now: datetime) -> None:
        """End a session; ended ones that would be over by now are forgotten."""
        with writing(self._engine) as connection:
            connection.execute(sa.delete(ended_session).where(ended_session.c.forget_at <= now))
            insert_new(connection, ended_session, [{"session_id": session_id, "forget_at": forget_at}])

    def ended(self) -> frozenset[str]:
        """Those that were ended."""
        with reading(self._engine) as connection:
            return frozenset(connection.scalars(sa.select(ended_session.c.session_id)))

    def _secret(self, name: str) -> str | None:
        with reading(self._engine) as connection:
            return connection.scalar(sa.select(kept_secret.c.value).where(kept_secret.c.name == name))
