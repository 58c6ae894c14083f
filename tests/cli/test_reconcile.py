"""`vigie reconcile`: what it says to a wrong question. What it finds: tests/system/test_asking_the_pacs.py."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.backends.store import open_store
from services.cli import app
from services.settings import Settings
from tests.support.pacs import pacs_file
from tests.support.peers import free_port


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of one PACS, which is away."""
    monkeypatch.setenv("VIGIE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "400")
    file = pacs_file(tmp_path / "pacs.toml", f"AWAY@127.0.0.1:{free_port()}")
    monkeypatch.setenv("VIGIE_PACS", str(file))
    return file


def run(*flags: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["reconcile", *flags])
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("dates", "told"),
    [
        ("yesterday", "write YYYY-MM-DD, or YYYY-MM-DD:YYYY-MM-DD"),
        ("2026-03-02:2026-03-01", "ends before it begins"),
        ("2026-02-30", "is no date"),
    ],
)
def test_a_wrong_date_is_told(archive: Path, dates: str, told: str) -> None:
    code, output = run("--date", dates)
    assert code == 2
    assert told in output


def test_without_a_pacs_to_ask_it_says_where_one_is_named(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = run("--pacs", "other")
    assert code == 2
    assert f"{archive} has no table [other]" in output
    monkeypatch.delenv("VIGIE_PACS")
    code, output = run()
    assert code == 2
    assert "VIGIE_PACS names no file" in output


def test_a_file_that_cannot_be_used_is_told_before_anything_is_asked(archive: Path) -> None:
    archive.write_text("[archive]")
    code, output = run()
    assert code == 2
    assert "PACS 'archive': field 'address': Field required" in output


def test_a_pacs_that_is_away_is_told_and_is_no_empty_answer(archive: Path) -> None:
    code, output = run("--json")
    assert code == 1
    (report,) = json.loads(output[output.index("[") :])
    assert "cannot be reached" in report["error"]
    assert report["studies"] == 0


def test_two_at_the_same_time_do_not_do_the_same_work(archive: Path) -> None:
    store = open_store(Settings().store_url())
    store.reconciliations.claim("archive", now=datetime.now(UTC), duration=timedelta(minutes=1))
    code, output = run()
    assert code == 1
    assert "another process reconciles with archive now" in output
