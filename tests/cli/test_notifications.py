"""`vigie notifications sample`, and the samples that docs/notifications.md shows."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli import app

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = REPOSITORY / "docs" / "notifications.md"
_SAMPLE = re.compile(r"`vigie (notifications sample [^`]+)`:\n\n```\w*\n(.*?)```", re.DOTALL)


@pytest.fixture(autouse=True)
def _example(monkeypatch):
    monkeypatch.setenv("VIGIE_NOTIFICATIONS", str(REPOSITORY / "deploy" / "notifications.toml"))


def vigie(words: str):
    return CliRunner().invoke(app, words.split())


def test_every_sample_of_the_document_is_what_the_command_prints():
    samples = _SAMPLE.findall(DOCUMENT.read_text(encoding="utf-8"))
    assert [words for words, _ in samples] == [
        "notifications sample ris",
        "notifications sample ris --withdrawn",
        "notifications sample ris-fhir",
        "notifications sample pager",
    ]
    for words, shown in samples:
        assert vigie(words).stdout == shown, f"run: vigie {words}"


def test_an_unknown_receiver_is_wrong_usage():
    answer = vigie("notifications sample nobody")
    assert (answer.exit_code, "no receiver 'nobody'" in answer.output) == (2, True)


def test_a_file_that_cannot_be_used_is_told(tmp_path, monkeypatch):
    broken = tmp_path / "notifications.toml"
    broken.write_text("[ris]\n")
    monkeypatch.setenv("VIGIE_NOTIFICATIONS", str(broken))
    answer = vigie("notifications sample ris")
    assert answer.exit_code == 2
    assert "kind" in answer.output
