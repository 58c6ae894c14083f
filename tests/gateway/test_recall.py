"""Recalling a result at the desk and on the command line, on results that a worker has frozen."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydicom import Dataset, dcmread
from typer.testing import CliRunner

from services.cli import app
from services.gateway.app import create_app
from services.triage.errors import OutOfResources
from tests.support.house import House, chest_with_ball
from tests.support.validators import dcentvfy, dciodvfy, dsrdump

WHY = "it segments the diaphragm"


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setenv("VIGIE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("VIGIE_RECALL_NOTES", "true")
    return House(data=tmp_path / "data", send_to=("PACS@h:104",))


def client(house: House) -> TestClient:
    application = create_app(house.settings, store=house.store, files=house.files)
    return TestClient(application, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)


def delivered(house: House, **attributes: object) -> str:
    """A study whose result is at its destination."""
    uid = house.freeze(chest_with_ball(**attributes))
    (delivery,) = house.result(uid).deliveries
    house.store.delivered(delivery.delivery_id, now=house.result(uid).frozen_at)
    return uid


def note_of(house: House, uid: str) -> Path:
    (note,) = [one for one in house.result(uid).objects if one.note]
    return house.files.result_path(note.sha256)


def test_a_recall_is_shown_in_the_api_the_work_list_and_the_study(house: House) -> None:
    uid, desk = delivered(house), client(house)
    result_id = house.result(uid).result_id
    answer = desk.post(f"/api/results/{result_id}/recall", json={"reason": f" {WHY} "})
    assert answer.status_code == 200
    assert (answer.json()["actor"], answer.json()["reason"]) == ("local", WHY)
    study = desk.get(f"/api/studies/{uid}").json()
    assert study["summary"]["recalled"] is True
    assert (study["summary"]["flag"], study["summary"]["outcome"]) == (None, None)
    assert study["versions"][0]["jobs"][0]["result"]["recall"] == answer.json()
    assert "AI result recalled" in desk.get("/").text
    assert "saying-urgent" not in desk.get("/").text
    assert f"by local: {WHY}" in desk.get(f"/studies/{uid}").text
    assert desk.post(f"/api/results/{result_id}/recall", json={"reason": "again"}).json() == answer.json()


@pytest.mark.parametrize("body", [{}, {"reason": " "}, {"reason": "x" * 501}])
def test_a_recall_says_why(house: House, body: dict[str, str]) -> None:
    uid, desk = delivered(house), client(house)
    answer = desk.post(f"/api/results/{house.result(uid).result_id}/recall", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert house.result(uid).recall is None


def test_an_unknown_result_is_said_to_be_unknown(house: House) -> None:
    answer = client(house).post(f"/api/results/{'0' * 32}/recall", json={"reason": WHY})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_result")


def test_without_room_for_the_note_nothing_is_recalled_and_the_answer_says_so(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid, desk = delivered(house), client(house)

    def full(_content: bytes) -> str:
        raise OutOfResources("full")

    monkeypatch.setattr(house.files, "keep_result", full)
    answer = desk.post(f"/api/results/{house.result(uid).result_id}/recall", json={"reason": WHY})
    assert (answer.status_code, answer.json()["code"]) == (507, "no_space_left")
    assert house.result(uid).recall is None


def test_the_note_is_a_valid_rejection_of_every_object_under_their_own_patient(house: House) -> None:
    uid = delivered(house, IssuerOfPatientID="NORTH", PatientName="Müller^Änne", SpecificCharacterSet="ISO_IR 100")
    result = house.result(uid)
    client(house).post(f"/api/results/{result.result_id}/recall", json={"reason": WHY})
    path = note_of(house, uid)
    rejected = [house.files.result_path(one.sha256) for one in result.objects]
    assert (dciodvfy(path), dsrdump(path), dcentvfy([*rejected, path])) == ([], [], [])
    note = dcmread(path)
    assert note.ConceptNameCodeSequence[0].CodeValue == "113001"
    assert (note.IssuerOfPatientID, str(note.PatientName)) == ("NORTH", "Müller^Änne")
    assert WHY in note.ContentSequence[0].TextValue
    told = {(one.sop_class_uid, one.sop_instance_uid) for one in result.objects}
    assert set(named(note.ContentSequence)) == told
    assert set(named(note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence)) == told
    assert note.SeriesInstanceUID not in {one.series_instance_uid for one in result.objects}


def named(items: list[Dataset]) -> list[tuple[str, str]]:
    return [
        (one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID)
        for item in items
        for one in item.get("ReferencedSOPSequence", ())
    ]


def test_notes_are_off_unless_asked_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIGIE_RECALL_NOTES")
    uid = delivered(house)
    assert vigie("recall", house.result(uid).result_id, "--reason", WHY).exit_code == 0
    assert [one.note for one in house.result(uid).deliveries] == [False]


def vigie(*words: str):
    return CliRunner().invoke(app, ["results", *words])


def test_the_command_recalls_one_result_or_all_of_a_study(house: House) -> None:
    series = chest_with_ball()
    uid = house.freeze(series[:18])
    first = house.result(uid).result_id
    answer = vigie("recall", first, "--reason", WHY)
    assert (answer.exit_code, answer.stdout) == (0, "1 of 1 recalled\n")
    house.freeze(series[18:])
    assert house.result(uid).recall is None
    assert vigie("recall", "--study", uid, "--reason", "all of it").stdout == "2 of 2 recalled\n"
    assert house.result(uid).recall.reason == "all of it"
    assert house.store.frozen_result(first).recall.reason == WHY


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["nothing-like-it", "--reason", WHY], 1),
        (["--study", "1.2.3", "--reason", WHY], 1),
        (["--reason", WHY], 2),
        (["a", "--study", "1.2.3", "--reason", WHY], 2),
        (["a", "--reason", " "], 2),
        (["a"], 2),
    ],
)
def test_a_command_that_cannot_be_done_says_so_by_its_exit_code(house: House, words: list[str], code: int) -> None:
    assert vigie("recall", *words).exit_code == code
