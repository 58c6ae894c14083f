"""An Orthanc as modality asks `vigie standalone`, which asks an Orthanc as archive; and deliver dies in between."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli import app
from tests.support.ct import write_series
from tests.support.house import chest_with_ball
from tests.support.orthanc import Orthanc, orthanc
from tests.support.peers import wait_until
from tests.support.standalone import Running, standalone

pytestmark = pytest.mark.system


@contextmanager
def hospital(folder: Path, **choices: object) -> Iterator[tuple[Running, Orthanc, Orthanc]]:
    """Vigie, a modality that may ask it, and the archive; `choices`: keys of the modality's table."""
    with orthanc(folder / "ct", ae_title="CT1") as ct, orthanc(folder / "pacs") as pacs:
        destinations, commitment = folder / "destinations.toml", folder / "commitment.toml"
        # a deliver that dies between keeping its question and asking it costs the wait for the answer
        asked = ["storage_commitment = true", "commitment_wait_s = 0", "commitment_answer_within_s = 5"]
        destinations.write_text("\n".join(["[pacs]", f'address = "{pacs.address}"', *asked]))
        lines = ["[CT1]", 'archive = "pacs"', f'report_to = "{ct.address}"']
        commitment.write_text("\n".join([*lines, *(f"{key} = {value}" for key, value in choices.items())]))
        with standalone(
            folder / "data",
            fake_segmenter_s=0,
            destinations=destinations,
            commitment=commitment,
            delivery_retry_s=1,
            lease_s=3,
        ) as vigie:
            for each in (ct, pacs):
                each.forward_to(vigie.dicom_port)
            yield vigie, ct, pacs


def store(paths: list[Path], address: str) -> None:
    """As a modality sends its images to the archive."""
    title, port = address.split("@")[0], address.rsplit(":", 1)[1]
    subprocess.run(["storescu", "-aec", title, "127.0.0.1", port, *map(str, paths)], check=True)


def times_asked(vigie: Running) -> int:
    return len(vigie.events("archive_asked"))


def test_orthanc_asks_and_is_told_once_its_archive_has_all_though_deliver_dies_at_every_step(tmp_path, monkeypatch):
    paths = list(write_series(chest_with_ball(), tmp_path / "series"))
    with hospital(tmp_path) as (vigie, ct, pacs):
        study = ct.upload(paths)
        store(paths[:12], pacs.address)
        ct.push(study, to_port=vigie.dicom_port)
        transaction = ct.request_commitment(study)
        os.kill(vigie.pid_of("deliver"), signal.SIGKILL)

        wait_until(lambda: times_asked(vigie) >= 1, timeout_s=90, what="the archive asked")
        os.kill(vigie.pid_of("deliver"), signal.SIGKILL)
        assert ct.commitment(transaction)["Status"] == "Pending"

        monkeypatch.setenv("VIGIE_DATA", str(tmp_path / "data"))
        listed = CliRunner().invoke(app, ["commitments", "list"]).stdout
        assert transaction in listed
        assert "CT1" in listed

        store(paths[12:], pacs.address)
        wait_until(lambda: ct.commitment(transaction)["Status"] != "Pending", timeout_s=120, what="the report")
        told = ct.commitment(transaction)
    assert told["Status"] == "Success"
    assert len(told["Success"]) == len(paths)
    assert times_asked(vigie) >= 2


def test_what_the_archive_never_gets_fails_with_its_reason_and_the_rest_is_committed(tmp_path):
    paths = list(write_series(chest_with_ball(), tmp_path / "series"))
    with hospital(tmp_path, decide_within_s=15) as (vigie, ct, pacs):
        study = ct.upload(paths)
        store(paths[:12], pacs.address)
        ct.push(study, to_port=vigie.dicom_port)
        transaction = ct.request_commitment(study)
        wait_until(lambda: ct.commitment(transaction)["Status"] != "Pending", timeout_s=120, what="the report")
        told = ct.commitment(transaction)
    assert told["Status"] == "Failure"
    assert len(told["Success"]) == 12
    assert {one["FailureReason"] for one in told["Failures"]} == {0x0112}
    assert len(told["Failures"]) == len(paths) - 12
