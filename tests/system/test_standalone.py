"""`vigie standalone` from the outside: real processes, real sockets, real peers."""

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pydicom
import pytest

from services.backends.part10 import digest
from services.backends.senders import CStoreSender
from services.settings import REPOSITORY
from services.triage.finding import Outcome
from services.triage.job import JobState
from tests.support.ct import write_series
from tests.support.house import House, chest_with_ball
from tests.support.peers import free_port, received, storescp, wait_until
from tests.support.standalone import standalone

VIGIE = str(Path(sys.executable).parent / "vigie")

pytestmark = pytest.mark.system


def send(series, folder, address):
    paths = write_series(series, folder)
    CStoreSender(address, "CT1").send(
        [(ds.SOPClassUID, ds.SOPInstanceUID, path) for ds, path in zip(series, paths, strict=True)]
    )


def uid_of(series):
    return series[0].StudyInstanceUID


def is_frozen(house, uid):
    return {job.state for job in house.jobs(uid)} == {JobState.FROZEN}


def digests(folder):
    return sorted(digest(path.read_bytes()) for path in received(folder))


def frozen_digests(house, uid):
    return sorted(digest(house.files.result_path(each.sha256).read_bytes()) for each in house.result(uid).objects)


def test_a_study_that_is_sent_comes_back_to_the_pacs_as_seg_and_sr(tmp_path):
    series = chest_with_ball()
    house = House(data=tmp_path / "data")
    pacs = f"PACS@127.0.0.1:{(port := free_port())}"
    with (
        storescp(tmp_path / "pacs", port),
        standalone(house.data, send_to=[pacs], fake_segmenter_s=0) as vigie,
    ):
        send(series, tmp_path / "study", vigie.address)
        wait_until(lambda: len(received(tmp_path / "pacs")) == 2, what="SEG and SR at the PACS")
        wait_until(lambda: vigie.events("delivered"))
        listed = httpx.get(f"http://127.0.0.1:{vigie.http_port}/api/studies").json()
        assert vigie.stop() == 0
    assert uid_of(series) in str(listed)
    assert house.result(uid_of(series)).outcome == Outcome.FOUND
    assert digests(tmp_path / "pacs") == frozen_digests(house, uid_of(series))


@pytest.mark.slow
def test_the_command_as_it_is_installed_analyses_a_ct_with_the_model_of_the_repository(tmp_path):
    study = REPOSITORY / "dicom_samples" / "phantom_negative"
    uid = str(pydicom.dcmread(next(study.glob("*.dcm")), stop_before_pixels=True).StudyInstanceUID)
    house = House(data=tmp_path / "data")
    with standalone(house.data, send_to=[str(tmp_path / "out")]) as vigie:
        subprocess.run([VIGIE, "send", str(study), vigie.address], check=True, capture_output=True)
        wait_until(lambda: is_frozen(house, uid), timeout_s=240, what="the analysis")
        wait_until(lambda: list((tmp_path / "out").rglob("*.dcm")), what="the report in the folder")
        assert vigie.stop() == 0
    result = house.result(uid)
    assert result.outcome.analysed, result.reason
    assert result.model.name == "ct_lung_lesion"
    assert len(result.model.weights_sha256) == 64


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_while_a_study_is_analysed_loses_no_work(tmp_path, number):
    series = chest_with_ball()
    house = House(data=tmp_path / "data")
    with standalone(house.data, fake_segmenter_s=1.5) as vigie:
        send(series, tmp_path / "study", vigie.address)
        wait_until(lambda: vigie.events("stage"))
        assert vigie.stop(number) == 0
    assert is_frozen(house, uid_of(series))
    stopped = [event["part"] for event in vigie.events("part_stopped")]
    assert stopped == ["door", "desk", "observing", "dispatcher", "worker", "deliver"]
    assert {event["exit_code"] for event in vigie.events("part_stopped")} == {0}


def test_a_second_one_on_the_same_data_folder_does_not_start(tmp_path):
    with standalone(tmp_path / "data", fake_segmenter_s=0):
        flags = [
            "--data",
            tmp_path / "data",
            "--http",
            f"127.0.0.1:{free_port()}",
            "--dicom",
            f"127.0.0.1:{free_port()}",
        ]
        second = subprocess.run([VIGIE, "standalone", *map(str, flags)], capture_output=True, text=True)
    assert second.returncode == 1
    assert "Another vigie standalone runs on the data folder" in second.stderr


@pytest.mark.parametrize("taken", ["--http", "--dicom"])
def test_a_port_in_use_is_a_clear_error(tmp_path, taken):
    with storescp(tmp_path / "pacs", port := free_port()):
        addresses = {"--http": free_port(), "--dicom": free_port()} | {taken: port}
        flags = [word for flag, number in addresses.items() for word in (flag, f"127.0.0.1:{number}")]
        refused = subprocess.run(
            [VIGIE, "standalone", "--data", str(tmp_path / "data"), *flags], capture_output=True, text=True
        )
    assert refused.returncode == 1
    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--send-to", "nonsense"], "destination"),
        (["--quiet-period", "-1"], "VIGIE_QUIET_PERIOD_S"),
        (["--ae-title", "A" * 17], "VIGIE_AE_TITLE"),
    ],
)
def test_wrong_usage_is_exit_code_2(tmp_path, flags, told):
    refused = subprocess.run([VIGIE, "standalone", "--data", str(tmp_path), *flags], capture_output=True, text=True)
    assert refused.returncode == 2
    assert told in refused.stderr


@pytest.mark.parametrize("part", ["door", "desk", "observing", "dispatcher", "worker", "deliver"])
def test_a_part_that_is_killed_is_started_again_and_the_study_still_comes_back(tmp_path, part):
    series = chest_with_ball()
    house = House(data=tmp_path / "data", send_to=(str(tmp_path / "out"),))
    with standalone(house.data, send_to=house.send_to, fake_segmenter_s=1, lease_s=5) as vigie:
        if part in ("door", "desk", "observing", "dispatcher"):
            first = vigie.pid_of(part)
            subprocess.run(["kill", "-9", str(first)], check=True)
            wait_until(lambda: vigie.pid_of(part) != first)
        if part == "door":
            wait_until(lambda: len(vigie.events("door_open")) == 2)
        send(series, tmp_path / "study", vigie.address)
        if part in ("worker", "deliver"):
            wait_until(lambda: vigie.events("stage"))
            subprocess.run(["kill", "-9", str(vigie.pid_of(part))], check=True)
        wait_until(lambda: len(list((tmp_path / "out").rglob("*.dcm"))) == 2, what="SEG and SR in the folder")
        assert vigie.stop() == 0
    assert house.result(uid_of(series)).outcome == Outcome.FOUND
    if part == "worker":
        assert house.jobs(uid_of(series))[0].attempt == 2


def test_when_the_supervisor_is_killed_its_parts_end(tmp_path):
    with standalone(tmp_path / "data", fake_segmenter_s=0) as vigie:
        pids = [int(str(event["pid"])) for event in vigie.events("part_started")]
        vigie.process.kill()
        vigie.process.wait()
        wait_until(lambda: not any(_runs(pid) for pid in pids), timeout_s=5)
    assert len(pids) == 6


def _runs(pid):
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
