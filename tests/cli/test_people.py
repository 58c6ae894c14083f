"""`vigie people`: a hash for the file, and a key that is shown once or never."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services.backends.keys import is_key
from services.backends.people_file import load_people
from services.cli import app
from tests.support.people import everybody, write_people

KEY = "a key of my own choice"


def vigie(*words: str, given: str | None = None) -> Result:
    return CliRunner().invoke(app, ["people", *words], input=given)


def test_the_entry_of_a_person_is_printed_and_their_key_is_not(tmp_path: Path) -> None:
    answer = vigie("hash", "c-martin", given=f"{KEY}\n")
    assert answer.exit_code == 0
    assert KEY not in answer.output
    path = tmp_path / "people.toml"
    path.write_text(answer.stdout)
    assert is_key(KEY, load_people(path, [])["c-martin"].key_hash)


@pytest.mark.parametrize("flags", [["--make"], ["--machine"]])
def test_a_made_key_is_told_once_beside_the_entry(tmp_path: Path, flags: list[str]) -> None:
    answer = vigie("hash", "claire@site", *flags)
    (key,) = re.findall(r"told this once: (\S+)", answer.stderr)
    assert key not in answer.stdout
    path = tmp_path / "people.toml"
    path.write_text(everybody() + answer.stdout)
    assert is_key(key, load_people(path, [])["claire@site"].key_hash)


@pytest.mark.parametrize(("name", "given"), [("x", "short\n"), ("Dr X", f"{KEY}\n"), ("x", "")])
def test_a_short_key_and_an_odd_name_are_refused(name: str, given: str) -> None:
    answer = vigie("hash", name, given=given)
    assert (answer.exit_code, answer.stdout) == (2, "")


def test_the_file_in_force_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert vigie("check").exit_code == 2
    monkeypatch.setenv("VIGIE_PEOPLE", write_people(tmp_path))
    assert "auditor" in vigie("check").stdout
    monkeypatch.setenv("VIGIE_PEOPLE", write_people(tmp_path, "[people.x]"))
    answer = vigie("check")
    assert answer.exit_code == 2
    assert "field 'roles'" in re.sub(r"\s+", " ", answer.stderr.replace("│", ""))
