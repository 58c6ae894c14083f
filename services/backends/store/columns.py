"""Column types: times in UTC (and in SQL as numbers), our frozen dataclasses as JSON text, and text from outside."""

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import TypeDecorator


class UtcTime(TypeDecorator[datetime]):
    """A point in time, stored in UTC, always timezone-aware outside; a naive one is refused."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC; SQLite stores it without the zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """In UTC, with its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class microseconds(GenericFunction[int]):  # noqa: N801 - it is called as functions of SQL are
    """A `UtcTime` column as whole microseconds since 1970, so that a database can tell how far two are apart."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(microseconds, "postgresql")
def _microseconds_postgresql(element: microseconds, compiler: SQLCompiler, **options: Any) -> str:
    return f"CAST(EXTRACT(epoch FROM {compiler.process(element.clauses, **options)}) * 1000000 AS BIGINT)"


@compiles(microseconds, "sqlite")
def _microseconds_sqlite(element: microseconds, compiler: SQLCompiler, **options: Any) -> str:
    # kept as 'YYYY-MM-DD HH:MM:SS.ffffff'; SQLite's own functions know no more than milliseconds
    time = compiler.process(element.clauses, **options)
    return f"(CAST(strftime('%s', {time}) AS INTEGER) * 1000000 + CAST(substr({time}, 21) AS INTEGER))"


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


class AsJson(TypeDecorator[Any]):
    """A value of one type (a dataclass, a tuple of them) as JSON text, checked again when it is read."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = kind  # SQLAlchemy copies a type by the names of its arguments

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002  # SQLAlchemy's signature
        """To ASCII JSON: whatever a header holds (NaN, a NUL, half a surrogate pair), no database refuses it."""
        return None if value is None else json.dumps(_adapter(self.kind).dump_python(value))

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        """From JSON."""
        return None if value is None else _adapter(self.kind).validate_python(json.loads(value))


def storable(text: str) -> str:
    """Text from outside without what no database takes: NUL, half a surrogate pair."""
    return text.replace("\x00", "").encode("utf-8", "ignore").decode("utf-8")


class Words(TypeDecorator[str]):
    """Text from outside: what no database takes (NUL, half a surrogate pair) is left out."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """To text that can be stored."""
        return None if value is None else storable(value)
