"""A file of blind-first mode that cannot be used is said before anything starts."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli import app


@pytest.mark.parametrize("command", ["gateway", "deliver", "worker", "standalone"])
def test_a_mistake_in_the_file_is_a_wrong_usage_of_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    rules = tmp_path / "blind.toml"
    rules.write_text('key = "long enough to be one"\n[[hold]]\nshare = 2.0\n')
    monkeypatch.setenv("VIGIE_BLIND", str(rules))
    monkeypatch.setenv("VIGIE_DATA", str(tmp_path / "data"))
    answer = CliRunner(env={"COLUMNS": "500"}).invoke(app, [command])
    assert answer.exit_code == 2
    assert "hold.0.share" in answer.output
