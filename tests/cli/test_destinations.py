"""A mistake in the file of destinations stops every command that would use it, before it begins."""

import pytest
from typer.testing import CliRunner

from services.cli import app


@pytest.mark.parametrize("command", ["deliver", "worker", "standalone"])
def test_a_mistake_in_the_file_is_a_wrong_usage(command, tmp_path, monkeypatch):
    path = tmp_path / "destinations.toml"
    path.write_text('[pacs]\naddress = "PACS@h:104"\nobject = ["SR"]\n')
    monkeypatch.setenv("VIGIE_DESTINATIONS", str(path))
    monkeypatch.setenv("VIGIE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "300")
    answer = CliRunner().invoke(app, [command])
    assert answer.exit_code == 2
    assert "destination 'pacs': field 'object': Extra inputs are not permitted" in answer.output
    assert not (tmp_path / "data").exists()
