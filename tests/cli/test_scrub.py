"""`vigie scrub`: whether every acknowledged image is still there."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli import app
from services.gateway.scrubbing import Scrubbing
from tests.support.ct import ct_series
from tests.support.house import House


def test_what_is_lost_is_named_and_the_exit_code_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(data=tmp_path / "data")
    uid = house.queue_study(ct_series(slices=3))
    scrubbing = Scrubbing(house.store, house.files, files_per_s=20, stop=threading.Event())
    monkeypatch.setenv("VIGIE_DATA", str(house.data))
    before = CliRunner().invoke(app, ["scrub"])
    assert (before.exit_code, before.stdout.splitlines()[-1]) == (0, "lost: 0")
    kept = next((house.data / "instances").rglob("*.dcm"))
    kept.unlink()
    scrubbing.turn(datetime.now(UTC))
    after = CliRunner().invoke(app, ["scrub"])
    assert after.exit_code == 1
    assert "lost: 1" in after.stdout
    assert uid in after.stdout
    assert "missing" in after.stdout
