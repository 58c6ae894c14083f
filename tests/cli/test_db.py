"""`vigie db` on a real PostgreSQL, and what a process says of tables that it cannot use."""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from services.backends.store import open_store
from services.backends.store.engine import connect, writing
from services.backends.store.migrate import known_revisions
from services.backends.store.tables import compatibility
from services.cli import app
from services.triage.errors import SchemaBehind, SchemaRefused

HEAD = known_revisions()[-1]


@pytest.fixture
def url(postgresql, monkeypatch):
    with postgresql.database(template="template0") as url:
        monkeypatch.setenv("VIGIE_DATABASE_URL", url)
        yield url


def vigie(*words):
    return CliRunner().invoke(app, ["db", *words])


def test_upgrade_makes_the_tables_and_check_agrees(url):
    assert vigie("check").exit_code == 1
    assert vigie("upgrade").stdout == f"no tables -> {HEAD}\n"
    assert vigie("upgrade").stdout == f"{HEAD} -> {HEAD}\n"
    checked = vigie("check")
    assert (checked.exit_code, checked.stdout) == (0, f"database {HEAD}, this program {HEAD}\n")


def test_check_finds_a_table_that_somebody_changed(url):
    vigie("upgrade")
    with writing(connect(url)) as connection:
        connection.exec_driver_sql("ALTER TABLE job ADD COLUMN mine TEXT")
    checked = vigie("check")
    assert checked.exit_code == 1
    assert "mine" in checked.stdout


def test_the_way_down_and_up_again(url):
    vigie("upgrade")
    for revision in (*known_revisions()[-2::-1], "base"):
        assert vigie("downgrade", revision, "--yes").exit_code == 0
    assert vigie("upgrade").exit_code == 0
    assert vigie("check").exit_code == 0


def test_downgrade_asks_first_and_knows_its_revisions(url):
    vigie("upgrade")
    assert vigie("downgrade", "base").exit_code == 1
    assert vigie("downgrade", "9999", "--yes").exit_code == 2
    assert vigie("check").exit_code == 0


def test_upgrades_at_the_same_time_do_no_harm(url):
    command = [sys.executable, "-c", "from services.cli import main; main()", "db", "upgrade"]
    running = [subprocess.Popen(command, env={**os.environ, "VIGIE_DATABASE_URL": url}) for _ in range(3)]
    assert [one.wait(60) for one in running] == [0, 0, 0]
    assert vigie("check").exit_code == 0


def test_a_process_says_what_to_do_about_tables_it_cannot_use(url):
    with pytest.raises(SchemaBehind, match="vigie db upgrade"):
        open_store(url)
    vigie("upgrade")
    vigie("downgrade", "0001", "--yes")
    with pytest.raises(SchemaBehind, match=r"revision 0001.*vigie db upgrade"):
        open_store(url)


def test_a_process_that_starts_before_the_upgrade_waits_for_it(url, tmp_path):
    command = [sys.executable, "-c", "from services.cli import main; main()", "deliver"]
    environment = {**os.environ, "VIGIE_DATA": str(tmp_path)}
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True
    ) as waits:
        try:
            said = next(line for line in waits.stdout if "waiting" in line)
            assert "vigie db upgrade" in said
            vigie("upgrade")
            assert any("waiting_ended" in line for line in waits.stdout)
            waits.terminate()
            assert waits.wait(20) == 0
        finally:
            waits.kill()


def test_an_older_program_goes_on_beside_newer_tables_until_these_say_otherwise(url):
    vigie("upgrade")
    with writing(connect(url)) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0999'")
    open_store(url).close()
    with writing(connect(url)) as connection:
        connection.execute(compatibility.update().values(oldest_revision="0998"))
    with pytest.raises(SchemaRefused, match="update it"):
        open_store(url)


def test_a_server_that_is_not_there_is_said_without_the_password(monkeypatch):
    monkeypatch.setenv("VIGIE_DATABASE_URL", "postgresql://vigie:s3cret@127.0.0.1:1/vigie")
    answer = vigie("upgrade")
    assert answer.exit_code == 1
    assert "cannot be reached" in answer.output
    assert "s3cret" not in answer.output
