"""`vigie export research`: a study with SEG, SR, presentation state and a reader's document, and what leaves of it."""

import csv
import json
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from lxml import etree
from pydicom import Dataset, dcmread
from typer.testing import CliRunner

from services.backends.audit_message import Source, audit_message
from services.backends.receivers import addressees
from services.backends.store.audit import AuditQuery
from services.backends.store.audit_check import check
from services.backends.store.research import Wanted
from services.cli import app
from services.deliver.documenting import Documenting
from services.gateway.app import create_app
from services.triage.switch import ModelScope
from services.triage.verdict import Answer, Shown, Verdict
from tests.backends.test_audit_message import SCHEMA
from tests.support.house import House, chest_with_ball
from tests.support.validators import dcentvfy, dciodvfy, dcmpschk, dsrdump

PROCEDURE = Dataset()
PROCEDURE.CodeValue, PROCEDURE.CodingSchemeDesignator = "Zubrowka", "99EXEMPLE"
PROCEDURE.CodeMeaning = "Scanner de Mme Zubrowka"
PATIENT = {
    "ProcedureCodeSequence": [PROCEDURE],
    "PatientName": "Zubrowka^Aurelie",
    "PatientID": "IPP-4711-0815",
    "PatientBirthDate": "19511224",
    "AccessionNumber": "ACC-99-1234",
    "StudyDescription": "Scanner thorax Zubrowka",
    "InstitutionName": "Hopital Saint-Exemple",
    "ReferringPhysicianName": "Knock^Jules",
    "StudyDate": "20240502",
}
WANTED = Wanted()
SAME_SITE = {"Sec-Fetch-Site": "same-origin"}
PARTICIPANT = "ParticipantObjectIdentification"
TOLD = (
    "Zubrowka",
    "Aurelie",
    "IPP-4711",
    "19511224",
    "ACC-99",
    "Saint-Exemple",
    "99EXEMPLE",
    "Knock",
    "20240502",
    "Galen",
    "seen her",
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A study that a reader has answered, with their document; an ultrasound; and a study that nobody answered."""
    folder = tmp_path_factory.mktemp("research")
    destinations = folder / "destinations.toml"
    destinations.write_text(f'[pacs]\naddress = "{folder}/got"\nobjects = ["SEG", "SR", "GSPS"]\nverdicts = true\n')
    house = House(data=folder / "data", destinations=destinations)
    uid = house.freeze(chest_with_ball(**PATIENT))
    result = house.result(uid)
    house.store.verdicts.give(
        Verdict(
            verdict_id=uuid4().hex,
            study_instance_uid=uid,
            result_id=result.result_id,
            answer=Answer.MODIFY,
            tracking_uid=result.lesions[0].tracking_uid,
            reader="Galen^Claude",
            comment="I have seen her before, Mme Zubrowka",
            given_at=datetime.now(UTC) - timedelta(hours=1),
            shown=Shown(page="study"),
        )
    )
    write_document(house)
    house.freeze(chest_with_ball(PatientID="OTHER"))
    return house


def write_document(house: House) -> None:
    documenting = Documenting(
        store=house.store,
        files=house.files,
        destinations=addressees(house.settings),
        quiet_s=0,
        organization="",
        stop=threading.Event(),
    )
    assert documenting.turn(datetime.now(UTC)) == 1


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "research.key"
    assert CliRunner().invoke(app, ["export", "key", str(path)]).exit_code == 0
    return path


def export(house: House, key: Path, output: Path, *words: str) -> tuple[int, str]:
    environment = {"VIGIE_DATA": str(house.data), "VIGIE_RESEARCH_KEY": str(key), "COLUMNS": "300"}
    done = CliRunner().invoke(app, ["export", "research", "--output", str(output), *words], env=environment)
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def exported(house: House, key: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("out") / "export"
    code, told = export(house, key, output, "--with-verdicts", "--option", "modified-dates", "--option", "descriptors")
    assert code == 0, told
    return output


def objects(exported: Path) -> list[Dataset]:
    return [dcmread(path) for path in sorted(exported.rglob("*.dcm"))]


def references(dataset: Dataset) -> Iterator[str]:
    for element in dataset.iterall():
        if element.keyword in ("ReferencedSOPInstanceUID", "ReferencedSeriesInstanceUID"):
            yield str(element.value)


def test_no_byte_of_any_file_or_name_tells_the_patient_or_the_reader(exported: Path, house: House) -> None:
    real = {
        one.sop_instance_uid
        for uid in house.store.research.studies(WANTED)
        for one in house.store.archive.instances(uid)
    }
    files = [path for path in exported.rglob("*") if path.is_file()]
    assert len(files) > 20
    for path in files:
        content = path.read_bytes() + str(path.relative_to(exported)).encode()
        assert [word for word in (*TOLD, *real) if word.encode() in content] == []


def test_images_segmentation_report_presentation_state_and_document_are_there_and_refer_to_each_other(
    exported: Path,
) -> None:
    found = objects(exported)
    assert sorted(one.Modality for one in found) == ["CT"] * 20 + ["PR", "SEG", "SR", "SR"]
    there = {str(one.SOPInstanceUID) for one in found} | {str(one.SeriesInstanceUID) for one in found}
    assert {uid for one in found for uid in references(one)} <= there
    assert len({(one.PatientID, one.StudyInstanceUID, one.StudyDate) for one in found}) == 1


def test_the_objects_are_as_valid_as_before(exported: Path) -> None:
    paths = sorted(exported.rglob("*.dcm"))
    by_modality = {dcmread(path).Modality: path for path in paths}
    assert {modality: dciodvfy(path) for modality, path in by_modality.items()} == {
        modality: [] for modality in by_modality
    }
    assert dcentvfy(paths) == []
    assert dcmpschk(by_modality["PR"]) == []
    assert [error for path in paths if dcmread(path).Modality == "SR" for error in dsrdump(path)] == []


def test_the_manifest_tells_model_outcome_and_answers_and_the_risks(exported: Path) -> None:
    manifest = json.loads((exported / "manifest.json").read_text())
    (study,) = manifest["studies"]
    (result,), (verdict,) = study["results"], study["verdicts"]
    assert (result["model"], result["outcome"], verdict["answer"]) == ("ct_lung_lesion", "found", "modify")
    assert (result["inference"], result["inference_reason"]) == ("reference", "")
    assert verdict["result"] == result["result"]
    assert verdict["tracking_uid"] == result["lesions"][0]["tracking_uid"]
    assert verdict["reader"].startswith("R-")
    assert [code["code"] for code in manifest["codes"]] == ["113100", "113104", "113103", "113107", "113105"]
    report = next(one for one in objects(exported) if one.Modality == "SR")
    assert verdict["tracking_uid"] in {str(each.value) for each in report.iterall() if each.keyword == "UID"}
    (line,) = csv.DictReader((exported / "manifest.csv").open())
    assert (line["subject"], line["answers"]) == (study["subject"], "modify")
    assert line["inference"] == "reference"


def test_the_same_patient_is_the_same_in_the_next_export_and_the_audit_trail_has_both(
    exported: Path, house: House, key: Path, tmp_path: Path
) -> None:
    before = len(list(house.store.audit.records()))
    code, told = export(house, key, tmp_path / "again")
    assert code == 0, told
    again = json.loads((tmp_path / "again" / "manifest.json").read_text())
    subjects = {one["subject"] for one in again["studies"]}
    assert len(subjects) == 2
    assert json.loads((exported / "manifest.json").read_text())["studies"][0]["subject"] in subjects
    records = [json.loads(one.document) for one in list(house.store.audit.records())[before:]]
    assert [one["type"] for one in records] == ["research_export_begun"] * 2 + ["research_export"] * 2
    assert {one["kind"] for one in records} == {"110106"}
    assert [[each["kind"] for each in one["objects"]] for one in records] == [["file", "study", "patient"]] * 4
    assert {one["objects"][0]["details"]["studies"] for one in records} == {"2"}
    assert not [word for word in TOLD if word in str(records)]


def test_an_export_of_several_patients_is_found_by_each_of_them(
    house: House, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command, by the page, by whoever has the patient's data erased, and in the messages to a repository."""
    monkeypatch.setenv("VIGIE_DATA", str(house.data))
    output, both = tmp_path / "out", (PATIENT["PatientID"], "OTHER")
    began = house.store.audit.head().sequence
    assert export(house, key, output)[0] == 0
    assert not check(house.store.audit).breaks
    desk = TestClient(
        create_app(house.settings, store=house.store, files=house.files), base_url="http://127.0.0.1:8000"
    )
    studies = set()
    for patient_id in both:
        listed = CliRunner().invoke(app, ["audit", "list", "--patient", patient_id, "--type", "research_export"])
        assert listed.exit_code == 0, listed.output
        page = desk.post("/audit", data={"patient": patient_id, "type": "research_export"}, headers=SAME_SITE)
        shown = set(re.findall(r'href="/studies/([0-9.]+)"', page.text))
        assert len(shown) == 1
        studies |= shown
        erased = CliRunner().invoke(app, ["patient", "find", "--id", patient_id])
        assert re.search(rf"may be in the export for research of .*: {re.escape(str(output))}\n", erased.stdout)
        as_json = json.loads(CliRunner().invoke(app, ["patient", "find", "--id", patient_id, "--json"]).stdout)
        assert str(output) in [one["folder"] for one in as_json["research_exports"]]
    assert studies == set(house.store.research.studies(WANTED))

    exports = house.store.audit.found(AuditQuery(type="research_export"), after=began)
    messages = [etree.fromstring(audit_message(one, Source(source_id="Vigie"))) for one in exports]
    for message in messages:
        SCHEMA.assertValid(message)
    told = [
        {one.get("ParticipantObjectTypeCodeRole"): one.get("ParticipantObjectID") for one in each.iter(PARTICIPANT)}
        for each in messages
    ]
    assert {one["3"] for one in told} == studies
    assert {one["1"] for one in told} == {house.store.audit.patient(each) for each in both}


def test_an_export_is_found_when_its_patient_was_erased(key: Path, tmp_path: Path) -> None:
    house = House(data=tmp_path / "data")
    house.freeze(chest_with_ball(PatientID="FIRST"))
    house.freeze(chest_with_ball(PatientID="SECOND"))
    assert export(house, key, tmp_path / "out")[0] == 0
    environment = {"VIGIE_DATA": str(house.data)}
    words = ["patient", "erase", "--id", "SECOND", "--reason", "request 1", "--yes"]
    assert CliRunner().invoke(app, words, env=environment).exit_code == 0
    query = AuditQuery(patient=house.store.audit.patient("SECOND"), type="research_export")
    assert len(list(house.store.audit.found(query))) == 1
    assert not check(house.store.audit).breaks


def test_what_burns_names_into_images_is_left_out_until_it_is_asked_for(key: Path, tmp_path: Path) -> None:
    house = House(data=tmp_path / "data")
    uid = house.freeze(chest_with_ball(BurnedInAnnotation="YES"))
    code, told = export(house, key, tmp_path / "without", "--study", uid)
    assert (code, "1 series left out" in told) == (0, True)
    assert {one.Modality for one in objects(tmp_path / "without")} == {"SEG", "SR"}
    export(house, key, tmp_path / "with", "--study", uid, "--burned-in")
    assert "CT" in {one.Modality for one in objects(tmp_path / "with")}


@pytest.mark.parametrize("gone", [True, False])
def test_files_that_cannot_be_read_are_told_by_the_exit_code_and_stop_nothing(
    key: Path, tmp_path: Path, gone: bool
) -> None:
    house = House(data=tmp_path / "data")
    uid = house.freeze(chest_with_ball())
    image = next(one for one in house.store.archive.instances(uid) if not one.is_result)
    path = house.files.path(image.digest)
    path.chmod(0o600)
    path.unlink() if gone else path.write_bytes(b"no DICOM at all")
    code, told = export(house, key, tmp_path / "out")
    assert (code, "1 files cannot be read" in told) == (1, True)
    assert sorted(one.Modality for one in objects(tmp_path / "out")) == ["CT"] * 19 + ["SEG", "SR"]
    (study,) = json.loads((tmp_path / "out" / "manifest.json").read_text())["studies"]
    assert sum(one["unreadable"] for one in study["series"]) == 1


def test_a_study_whose_result_is_kept_back_has_a_line_that_tells_why(key: Path, tmp_path: Path) -> None:
    house = House(data=tmp_path / "data")
    house.freeze(chest_with_ball())
    house.store.switches.switch_off(
        ModelScope(model_name="ct_lung_lesion"), reason="odd", actor="Dr Lead", now=datetime.now(UTC)
    )
    code, told = export(house, key, tmp_path / "out")
    assert code == 0, told
    (line,) = csv.DictReader((tmp_path / "out" / "manifest.csv").open())
    assert (line["model"], line["outcome"], line["no_result"]) == ("ct_lung_lesion", "", "model_switched_off")
    assert line["instances"] == "20"
    (study,) = json.loads((tmp_path / "out" / "manifest.json").read_text())["studies"]
    assert (study["results"], [one["no_result"] for one in study["kept_back"]]) == ([], ["model_switched_off"])


@pytest.mark.parametrize(
    ("words", "told"),
    [(("--study", "2.25.1"), "no such study"), (("--since", "2999-01-01"), "0 studies")],
)
def test_what_is_not_there_is_said(house: House, key: Path, tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    assert told in export(house, key, tmp_path / "out", *words)[1]


def test_a_folder_with_something_in_it_is_not_written_to(house: House, key: Path, tmp_path: Path) -> None:
    (tmp_path / "note").touch()
    assert export(house, key, tmp_path)[0] == 2
