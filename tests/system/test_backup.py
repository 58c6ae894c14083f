"""A machine is lost: what a backup had is served again, byte for byte, by the service as it is installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from services.backends.senders import CStoreSender
from tests.support.ct import write_series
from tests.support.house import chest_with_ball
from tests.support.peers import listens, wait_until
from tests.support.postgres import BINARIES
from tests.support.standalone import Running, standalone

VIGIE = str(Path(sys.executable).parent / "vigie")

pytestmark = pytest.mark.system


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request, tmp_path):
    """Settings of the database before, and of an empty one after."""
    if request.param == "sqlite":
        yield {}, {}
        return
    server = request.getfixturevalue("postgresql")
    with server.database() as before, server.database(template="template0") as after:
        yield {"database_url": before}, {"database_url": after}


def vigie(*words, data, settings):
    environment = os.environ | {"VIGIE_DATA": str(data), "PATH": f"{BINARIES}:{os.environ['PATH']}"}
    environment |= {f"VIGIE_{name.upper()}": value for name, value in settings.items()}
    return subprocess.run([VIGIE, *map(str, words)], env=environment, capture_output=True, text=True, check=False)


def send(series, folder, address):
    paths = write_series(series, folder)
    CStoreSender(address, "CT1").send(
        [(ds.SOPClassUID, ds.SOPInstanceUID, path) for ds, path in zip(series, paths, strict=True)]
    )


def get(running: Running, path, **asked):
    answer = httpx.get(f"http://127.0.0.1:{running.http_port}{path}", timeout=60, **asked)
    answer.raise_for_status()
    return answer


def served(running: Running, uid):
    """All that the desk gives out of a study, but for what differs by the minute."""
    detail = get(running, f"/api/studies/{uid}").json()
    metadata = get(running, f"/dicomweb/studies/{uid}/metadata", headers={"Accept": "application/dicom+json"}).json()
    listed = get(running, "/api/studies").json()["studies"]
    instances = {}
    for one in metadata:
        series, instance = one["0020000E"]["Value"][0], one["00080018"]["Value"][0]
        path = f"/dicomweb/studies/{uid}/series/{series}/instances/{instance}"
        instances[instance] = get(running, path, headers={"Accept": "application/dicom; transfer-syntax=*"}).content
    versions = [
        {job["job_id"]: (job["state"], job["result"]) for job in version["jobs"]} for version in detail["versions"]
    ]
    verdicts = get(running, f"/api/studies/{uid}/verdicts").json()
    return {
        "listed": listed,
        "instances": instances,
        "versions": versions,
        "verdicts": verdicts,
        "series": detail["series"],
    }


def analysed(running: Running, series, folder):
    send(series, folder, running.address)
    uid = series[0].StudyInstanceUID
    wait_until(lambda: len(running.events("delivered")) >= 1, timeout_s=60, what="the result delivered")
    result_id = get(running, f"/api/studies/{uid}").json()["summary"]["result_id"]
    answer = {"verdict_id": "a" * 32, "answer": "accept", "result_id": result_id, "comment": "see the prior"}
    url = f"http://127.0.0.1:{running.http_port}/api/studies/{uid}/verdicts"
    httpx.post(url, json=answer, timeout=60).raise_for_status()
    return uid


def test_an_empty_machine_serves_the_same_after_a_restore(tmp_path, databases):
    before, after = databases
    data, backup = tmp_path / "data", tmp_path / "backup"
    options = {"fake_segmenter_s": 0, "send_to": [str(tmp_path / "out")], "verdict_quiet_s": 600}
    with standalone(data, **options, **before) as running:
        uid = analysed(running, chest_with_ball(), tmp_path / "study")
        expected = served(running, uid)
        assert len(expected["instances"]) == 22
        made = vigie("backup", "make", backup, data=data, settings=before)
        assert made.returncode == 0, made.stderr
        again = vigie("backup", "make", backup, data=data, settings=before)
        assert again.returncode == 0, again.stderr
        running.kill_all()
    sent_before = len(list((tmp_path / "out").rglob("*.dcm")))
    shutil.rmtree(data)

    whole = vigie("backup", "verify", backup, data=data, settings=after)
    assert whole.returncode == 0, whole.stdout
    restored = vigie("restore", backup, data=data, settings=after)
    assert restored.returncode == 0, restored.stdout + restored.stderr
    with standalone(data, **options, **after) as running:
        wait_until(lambda: listens(running.http_port), timeout_s=60, what="the desk listening")
        assert served(running, uid) == expected
        assert running.stop() == 0
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == sent_before
    assert vigie("restore", backup, data=data, settings=after).returncode == 1
