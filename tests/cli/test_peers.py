"""`vigie peers check`."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli import app

FILE = """
[CT1]
addresses = ["192.0.2.30"]
may = ["store", "signals"]
max_associations = 4
priority = "stat"

[ANY]
addresses = ["0.0.0.0/0"]
"""


def check(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, **settings: str) -> tuple[int, str]:
    (folder / "peers.toml").write_text(text)
    for name, value in {"DATA": str(folder), "PEERS": str(folder / "peers.toml"), **settings}.items():
        monkeypatch.setenv(f"VIGIE_{name}", value)
    done = CliRunner().invoke(app, ["peers", "check"])
    return done.exit_code, done.output


def test_everybody_is_listed_and_what_may_be_meant_otherwise_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "destinations.toml").write_text('[pacs]\naddress = "PACS@127.0.0.1:104"\nstorage_commitment = true\n')
    code, told = check(tmp_path, monkeypatch, FILE, DESTINATIONS=str(tmp_path / "destinations.toml"))
    assert code == 0
    for words in ("192.0.2.30/32", "4 associations", "stat", "signals, store", "no limit of its own"):
        assert words in told
    notes = [line for line in told.splitlines() if line.startswith("Note: ")]
    assert [note.split()[1] for note in notes] == ["PACS", "CT1", "ANY"]


def test_a_file_that_cannot_be_used_is_exit_code_2_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, told = check(tmp_path, monkeypatch, "[CT1]\n")
    assert code == 2
    assert "a title is a claim" in " ".join(told.replace("│", " ").split())
    code, told = check(tmp_path, monkeypatch, FILE, CALLING_AE_TITLES="CT1")
    assert code == 2
    assert "VIGIE_PEERS" in told
