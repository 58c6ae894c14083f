"""The migrations make the tables that the code uses, on an empty and on an older database, and back."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.migration import MigrationContext
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from services.backends.store import open_store
from services.backends.store.engine import connect, reading
from services.backends.store.migrate import downgrade, upgrade
from services.backends.store.tables import metadata
from tests.support.records import NOON, image, sent


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    return connect(f"sqlite:///{tmp_path / 'vigie.sqlite'}")


def tables(engine: sa.Engine) -> set[str]:
    with reading(engine) as connection:
        return set(sa.inspect(connection).get_table_names())


def test_the_migrations_and_the_tables_have_not_drifted_apart(engine: sa.Engine) -> None:
    upgrade(engine)
    with reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_a_drift_would_be_found(engine: sa.Engine) -> None:
    upgrade(engine)
    drifted = sa.MetaData()
    for table in metadata.tables.values():
        table.to_metadata(drifted)
    drifted.tables["job"].append_column(sa.Column("new", sa.Text))
    with reading(engine) as connection:
        context = MigrationContext.configure(connection)
        assert "add_column" in render_python_code(produce_migrations(context, drifted).upgrade_ops)


def test_downgrading_to_nothing_and_upgrading_again_works(engine: sa.Engine) -> None:
    upgrade(engine)
    assert set(metadata.tables) <= tables(engine)
    downgrade(engine, "base")
    assert tables(engine) == {"alembic_version"}
    upgrade(engine)
    assert set(metadata.tables) <= tables(engine)


def test_opening_an_existing_store_keeps_what_is_in_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new folder' / 'vigie.sqlite'}"
    open_store(url).record(sent(image(1)), now=NOON)
    assert len(open_store(url).board.work_list()) == 1


def test_a_failed_migration_leaves_nothing_half_done(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: sa.Connection, *args: object, **options: object) -> object:
        if "CREATE TABLE board" in str(args[0]):
            raise sa.exc.DataError("no", None, Exception("no"))
        return execute(self, *args, **options)

    execute = sa.Connection._execute_ddl
    monkeypatch.setattr(sa.Connection, "_execute_ddl", lambda self, ddl, *a: full(self, ddl, *a))
    with pytest.raises(sa.exc.DataError):
        upgrade(engine)
    monkeypatch.undo()
    assert tables(engine) == set()
    upgrade(engine)


def test_sqlite_waits_its_turn_and_survives_a_power_cut(engine: sa.Engine) -> None:
    expected = {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 30_000, "foreign_keys": 1}
    with reading(engine) as connection:
        assert {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in expected} == expected


@pytest.mark.parametrize("table", metadata.sorted_tables, ids=lambda table: table.name)
def test_every_table_can_be_made_in_postgresql(table: sa.Table) -> None:
    dialect = postgresql.dialect()
    words = [str(CreateTable(table).compile(dialect=dialect))]
    words += [str(CreateIndex(index).compile(dialect=dialect)) for index in table.indexes]
    assert all(len(index.name or "") <= 63 for index in table.indexes)
    assert "TIMESTAMP WITHOUT TIME ZONE" not in "".join(words)


def test_an_sqlite_store_in_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a file"):
        open_store("sqlite://")
