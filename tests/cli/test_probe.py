"""`vigie probe`: wrong usage; what it does is told by tests/helm/test_helm_test*.py."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from services.cli.probe import probe

app = typer.Typer()
app.command()(probe)


@pytest.mark.parametrize("option", ["--tls-certificate", "--tls-key"])
def test_a_certificate_without_its_key_is_wrong_usage(tmp_path: Path, option: str) -> None:
    file = tmp_path / "one.pem"
    file.touch()
    done = CliRunner().invoke(app, ["VIGIE@127.0.0.1:1", "http://127.0.0.1:1", option, str(file)])
    assert done.exit_code == 2
    assert "belong together" in done.output
