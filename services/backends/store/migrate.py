"""Bringing a database to the newest revision."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine

from services.backends.store.engine import writing

HEAD = "head"
_LOCK = 0x56494749  # any number that nobody else uses


def upgrade(engine: Engine, revision: str = HEAD) -> None:
    """Upgrade in one transaction: of several processes that start together, one does it and the others wait."""
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":  # SQLite's writer is alone already
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        command.upgrade(config(connection), revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Go back to a revision ("base": nothing), in one transaction."""
    with writing(engine) as connection:
        command.downgrade(config(connection), revision)


def config(connection: object) -> Config:
    """Alembic's configuration for an open connection."""
    found = Config()
    found.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    found.attributes["connection"] = connection
    return found
