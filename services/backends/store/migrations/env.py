"""Run by Alembic with the connection (and its transaction) of `services.backends.store.migrate`."""

from typing import Any, Literal

from alembic import context
from sqlalchemy.types import TypeDecorator

from services.backends.store.tables import metadata


def _as_stored(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Write our column types into revisions as what they are in the database, so that revisions never change."""
    return f"sa.{item.impl!r}" if kind == "type" and isinstance(item, TypeDecorator) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
    compare_type=True,
    render_item=_as_stored,
)
with context.begin_transaction():
    context.run_migrations()
