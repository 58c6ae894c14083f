"""A machine is lost: what a backup had is served again, byte for byte, by the service as it is installed."""

import os
import shutil

import httpx
import pytest
from typer.testing import CliRunner

from services.backends.backup.copying import unknown
from services.backends.senders import CStoreSender
from services.cli import app
from tests.support.ct import write_series
from tests.support.house import chest_with_ball
from tests.support.peers import listens, wait_until
from tests.support.postgres import BINARIES
from tests.support.standalone import Running, standalone

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
    environment = {"VIGIE_DATA": str(data), "PATH": f"{BINARIES}:{os.environ['PATH']}"}
    environment |= {f"VIGIE_{name.upper()}": value for name, value in settings.items()}
    done = CliRunner().invoke(app, [str(word) for word in words], env=environment)
    assert done.exit_code == 0, done.output


def send(series, folder, address):
    paths = write_series(series, folder)
    CStoreSender(address, "CT1").send(
        [(ds.SOPClassUID, ds.SOPInstanceUID, path) for ds, path in zip(series, paths, strict=True)]
    )


def desk(running: Running):
    """Asks the desk."""
    wait_until(lambda: listens(running.http_port), timeout_s=60, what="the desk listening")
    return httpx.Client(base_url=f"http://127.0.0.1:{running.http_port}", timeout=60)


def served(client, uid):
    """All that the desk gives out of a study."""
    detail, listed, verdicts = (
        client.get(path).raise_for_status().json()
        for path in (f"/api/studies/{uid}", "/api/studies", f"/api/studies/{uid}/verdicts")
    )
    dicom = f"/dicomweb/studies/{uid}"
    metadata = client.get(f"{dicom}/metadata", headers={"Accept": "application/dicom+json"}).raise_for_status().json()
    instances = {}
    for one in metadata:
        series, instance = one["0020000E"]["Value"][0], one["00080018"]["Value"][0]
        whole = client.get(
            f"{dicom}/series/{series}/instances/{instance}",
            headers={"Accept": "application/dicom; transfer-syntax=*"},
        )
        instances[instance] = whole.raise_for_status().content
    return {"detail": detail, "listed": listed, "verdicts": verdicts, "instances": instances}


def analysed(running: Running, client, series, folder):
    """A study that was sent, analysed, delivered and answered; its UID."""
    send(series, folder, running.address)
    uid = series[0].StudyInstanceUID
    wait_until(lambda: running.events("delivered"), timeout_s=60, what="the result delivered")
    result_id = client.get(f"/api/studies/{uid}").json()["summary"]["result_id"]
    answer = {"verdict_id": "a" * 32, "answer": "accept", "result_id": result_id, "comment": "see the prior"}
    client.post(f"/api/studies/{uid}/verdicts", json=answer).raise_for_status()
    return uid


def test_an_empty_machine_serves_the_same_after_a_restore(tmp_path, databases):
    before, after = databases
    data, backup = tmp_path / "data", tmp_path / "backup"
    options = {"fake_segmenter_s": 0, "send_to": [str(tmp_path / "out")], "verdict_quiet_s": 600}
    with standalone(data, **options, **before) as running, desk(running) as client:
        uid = analysed(running, client, chest_with_ball(), tmp_path / "study")
        expected = served(client, uid)
        assert len(expected["instances"]) == 22
        anchors = data / "audit" / "anchors.jsonl"
        wait_until(anchors.exists, timeout_s=20, what="an anchor of the audit trail")
        assert unknown(data) == []
        vigie("backup", "make", backup, data=data, settings=before)
        running.kill_all()
    sent_before = sorted((tmp_path / "out").rglob("*.dcm"))
    shutil.rmtree(data)

    vigie("backup", "verify", backup, data=data, settings=after)
    vigie("restore", backup, data=data, settings=after)
    with standalone(data, **options, **after) as running, desk(running) as client:
        assert served(client, uid) == expected
        vigie("audit", "verify", "--anchor", anchors, data=data, settings=after)
        assert running.stop() == 0
    assert sorted((tmp_path / "out").rglob("*.dcm")) == sent_before
