"""`make demo` on a machine without a network: the phantoms travel the whole way."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from demo import demo
from dicom_samples import real_ct
from tests.support.bundle import bright_spot_bundle, routing_file

# minutes on a machine with much else to do
pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


def test_offline_it_says_so_and_shows_the_phantoms_in_place_of_an_earlier_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    bright_spot_bundle(tmp_path / "models", level_hu=200, min_volume_ml=3.0)
    monkeypatch.setenv("VIGIE_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("VIGIE_ROUTING", str(routing_file(tmp_path / "routing.toml")))
    monkeypatch.setattr(real_ct, "INDEX", "https://127.0.0.1:9/simple")
    (tmp_path / "out" / "results").mkdir(parents=True)
    (tmp_path / "out" / "results" / "old.dcm").touch()

    assert demo.main(["--output", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]) == 0

    printed = capsys.readouterr()
    assert "offline" in re.sub(r"\s+", " ", printed.err)
    assert "phantom positive" in printed.out
    assert "Not a medical device" in printed.out
    pictures = {path.name for path in (tmp_path / "out" / "overlays").iterdir()}
    assert pictures == {"phantom_positive.png", "phantom_negative.png"}
    delivered = [path.name for path in (tmp_path / "out" / "results").rglob("*.dcm")]
    assert len(delivered) == 4
    assert "old.dcm" not in delivered


def test_a_service_that_cannot_start_is_an_error_with_its_log_and_not_a_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(real_ct, "INDEX", "https://127.0.0.1:9/simple")
    monkeypatch.setenv("VIGIE_LEASE_S", "never")

    assert demo.main(["--output", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]) == 1

    assert "vigie standalone ended" in capsys.readouterr().err


def test_its_help_says_what_it_does():
    done = subprocess.run([sys.executable, "-m", "demo.demo", "--help"], capture_output=True, text=True, check=True)

    assert "--output" in done.stdout
