"""A study that is pushed is told of: by HL7, FHIR and a webhook at once, when it is found, replaced and recalled."""

import subprocess
import sys
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from services.triage.result import DeliveryState
from tests.support.ct import write_series
from tests.support.fhir import fhir_server, install_fhir_server
from tests.support.house import House, chest_with_ball
from tests.support.http_server import Server, serving
from tests.support.mllp import mllp_server
from tests.support.peers import wait_until
from tests.support.standalone import standalone
from tests.support.telling import SECRET, credentials_file

VIGIE = str(Path(sys.executable).parent / "vigie")

pytestmark = pytest.mark.system


def push(folder, series, address):
    write_series(series, folder)
    subprocess.run([VIGIE, "send", str(folder), address], check=True, capture_output=True)


def all_told(house, uid):
    return {one.state for one in house.result(uid).deliveries} == {DeliveryState.SENT}


def test_a_study_is_told_of_when_it_is_found_replaced_and_recalled(tmp_path, monkeypatch):
    series, hook = chest_with_ball(), Server()
    uid, house = str(series[0].StudyInstanceUID), House(data=tmp_path / "data")
    installed = install_fhir_server(tmp_path / "fhir")
    choices = tmp_path / "notifications.toml"
    with mllp_server() as ris, fhir_server(installed) as fhir, serving(hook) as url:
        choices.write_text(
            f'[ris]\nkind = "hl7"\naddress = "{ris.address}"\n'
            f'[fhir]\nkind = "fhir"\naddress = "{fhir.url}"\n'
            f'[hook]\nkind = "webhook"\naddress = "{url}"\n'
        )
        secrets = credentials_file(tmp_path, hook=f'secret = "{SECRET}"')
        with standalone(
            house.data, fake_segmenter_s=0, notifications=choices, notification_credentials=secrets
        ) as vigie:
            push(tmp_path / "first", series[:18], vigie.address)
            wait_until(lambda: len(ris.blocks) == len(hook.requests) == 1, what="the first result")
            wait_until(lambda: all_told(house, uid))
            assert fhir.one("DiagnosticReport")["status"] == "preliminary"
            push(tmp_path / "late", series[18:], vigie.address)
            wait_until(lambda: len(ris.blocks) == len(hook.requests) == 2, what="the second result")
            wait_until(lambda: all_told(house, uid))
            monkeypatch.setenv("VIGIE_DATA", str(house.data))
            command = [VIGIE, "results", "recall", "--reason", "it segments the heart", house.result(uid).result_id]
            subprocess.run(command, check=True, capture_output=True)
            wait_until(lambda: len(ris.blocks) == len(hook.requests) == 3, what="the recall")
            wait_until(lambda: all_told(house, uid))
            assert vigie.stop() == 0
        assert fhir.one("DiagnosticReport")["status"] == "entered-in-error"
        assert {one["status"] for one in fhir.all("Task")} == {"cancelled"}
    first, second, recall = ris.messages
    assert "Replaces the earlier result" not in str(first)
    assert "Replaces the earlier result" in str(second)
    assert "it segments the heart" in str(recall)
    told = [Webhook(SECRET).verify(content, headers) for _, headers, content in hook.requests]
    assert [one["type"] for one in told] == ["result.preliminary", "result.preliminary", "result.withdrawn"]
    assert told[1]["data"]["replaces"] == told[0]["data"]["result_id"]
    assert {one["data"]["study_instance_uid"] for one in told} == {uid}
    log = vigie.log.read_text()
    assert str(series[0].PatientName) not in log
    assert SECRET not in log
