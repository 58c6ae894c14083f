"""Training: answered studies again, and nothing of the patient in any answer."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import sqlalchemy as sa
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2024b as profile
from fastapi.testclient import TestClient
from pydicom import Dataset, dcmread
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from services.backends.store.engine import writing
from services.backends.store.tables import instance, training_check
from services.backends.store.training import Case
from services.gateway.training.archive import CaseFile, CaseInstance
from services.gateway.training.deidentify import DISPLAYED, deidentified
from services.triage.person import Person, PersonRole
from services.triage.training import RULES, Kind, pseudonym
from services.triage.verdict import Answer, RejectReason, Shown, Verdict
from tests.support.house import House, chest_with_ball
from tests.support.person import as_person
from tests.support.worklist import Ward

PATIENT = {
    "PatientName": "Dupont^Marguerite",
    "PatientID": "IPP-4711-0815",
    "PatientBirthDate": "19511224",
    "AccessionNumber": "ACC-99-1234",
    "StudyDescription": "Scanner de Mme Dupont",
    "SeriesDescription": "thorax Dupont",
    "InstitutionName": "Hopital Saint-Exemple",
    "ReferringPhysicianName": "Knock^Jules",
    "PatientComments": "Marguerite, seen before",
    "StudyID": "STUDYID77",
    "StudyDate": "20260227",
    "DeviceSerialNumber": "SN-31415926",
}


def patients_chest(**told: str) -> list[Dataset]:
    series = chest_with_ball(**(PATIENT | told))
    for each in series:
        each.add_new(0x00090010, "LO", "PRIVATE OF DUPONT")
        each.add_new(0x00091001, "LO", "IPP-4711-0815 again")
        item = Dataset()
        item.AccessionNumber, item.PatientName = PATIENT["AccessionNumber"], PATIENT["PatientName"]
        each.RequestAttributesSequence = [item]
    return series


def answered(house: House, series: list[Dataset], answer: Answer = Answer.ACCEPT) -> str:
    """A study with a result and a reader's answer to it."""
    uid = house.freeze(series)
    house.store.verdicts.give(
        Verdict(
            verdict_id=uuid4().hex,
            study_instance_uid=uid,
            result_id=house.result(uid).result_id,
            answer=answer,
            reason=RejectReason.VESSEL if answer is Answer.REJECT else None,
            reader="Dr A",
            given_at=datetime.now(UTC),
            shown=Shown(page="study"),
        )
    )
    return uid


@dataclass
class Class:
    client: TestClient
    ward: Ward
    identifiers: set[str]

    def begin(self, **told: str) -> str:
        """A round; the name of its first case."""
        wanted = {"model_name": "ct_lung_lesion", "mix": "any", "size": "5"} | told
        answer = self.client.post("/training/rounds", data=wanted)
        assert answer.status_code == 200, answer.text
        return str(answer.url).rsplit("/", 1)[1]

    def case(self, name: str) -> Case:
        case = self.ward.store.training.case("local", name)
        assert case is not None
        return case

    def told(self, content: bytes) -> list[str]:
        """What of the patient, and of the real UIDs, stands in it."""
        return [one for one in self.identifiers if one.encode() in content or one.upper().encode() in content.upper()]


@pytest.fixture(scope="module")
def learners(tmp_path_factory: pytest.TempPathFactory) -> Class:
    house = House(data=tmp_path_factory.mktemp("school"))
    series = patients_chest()
    answered(house, series)
    answered(house, chest_with_ball(), Answer.REJECT)
    answered(house, chest_with_ball(BurnedInAnnotation="YES"))
    answered(house, chest_with_ball(StudyDescription="CT whole body"))
    uids = {
        str(each.get(name)) for each in series for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    }
    words = {"Dupont", "Marguerite", "IPP-4711", "Knock", "Saint-Exemple", "STUDYID77", "ACC-99", "SN-314", "19511224"}
    ward = Ward(house.data)
    ward.now = datetime.now(UTC)
    return Class(client=ward.client(), ward=ward, identifiers=uids | words)


def test_the_page_says_what_can_be_shown_and_what_is_left_out_and_why(learners: Class) -> None:
    page = learners.client.get("/training").text
    assert "2 studies can be shown" in page
    rows = dict(re.findall(r'<th scope="row">([^<]+)</th><td class="number">(\d+)</td></tr>', page))
    assert rows["Text is burned into the images"] == "1"
    assert rows["The images show a head, from which a face can be made"] == "1"


def test_a_case_of_an_older_round_that_must_not_be_shown_any_more_shows_no_image(learners: Class) -> None:
    name = learners.begin(mix="lesions")
    path = f"/training/dicomweb/studies/{name}/instances"
    assert learners.client.get(path).json()
    result_id = learners.case(name).result_id
    learners.ward.store.training.note_checked({result_id: "face"})
    assert learners.client.get(path).json() == []
    page = learners.client.get(f"/training/cases/{name}").text
    assert "The images show a head" in page
    assert "Open the images" not in page
    learners.ward.store.training.note_checked({result_id: ""})


def test_of_a_result_that_was_recalled_since_a_case_tells_nothing(tmp_path: Path) -> None:
    house = House(data=tmp_path / "recalled")
    answered(house, patients_chest())
    ward = Ward(house.data)
    ward.now = datetime.now(UTC)
    learners = Class(client=ward.client(), ward=ward, identifiers=set())
    name = learners.begin(mix="lesions")
    told = learners.client.post(f"/training/cases/{name}", data={"answer": "present"}).text
    assert "What the AI marked" in told
    assert "Lesion, and the AI found one" in told
    house.store.recall(learners.case(name).result_id, reason="wrong", actor="lead", now=ward.now)
    page = learners.client.get(f"/training/cases/{name}").text
    done = learners.client.get(f"/training/rounds/{learners.case(name).round_id}").text
    assert "This result counts no more" in page
    assert "The AI's result counts no more" in done
    assert "What the AI marked" not in page
    assert "Lesion, and the AI found one" not in page + done
    shown = learners.client.get(f"/training/dicomweb/studies/{name}/instances").json()
    assert {one["00080060"]["Value"][0] for one in shown} == {"CT"}


def test_what_was_found_by_older_rules_is_found_again(learners: Class) -> None:
    name = learners.begin(mix="lesions")
    case = learners.case(name)
    with writing(learners.ward.store._engine) as connection:
        values = {"exclusion": "face", "rules": RULES - 1}
        connection.execute(sa.update(training_check).where(training_check.c.result_id == case.result_id).values(values))
    assert learners.client.get(f"/training/dicomweb/studies/{name}/instances").json() == []
    learners.client.get(f"/training/cases/{name}")
    assert learners.client.get(f"/training/dicomweb/studies/{name}/instances").json()


def test_images_that_came_after_the_look_are_not_shown(tmp_path: Path) -> None:
    house = House(data=tmp_path / "late")
    series = patients_chest()
    uid = answered(house, series)
    ward = Ward(house.data)
    ward.now = datetime.now(UTC)
    learners = Class(client=ward.client(), ward=ward, identifiers=set())
    name = learners.begin(mix="lesions")
    path = f"/training/dicomweb/studies/{name}/instances"
    before = learners.client.get(path).json()
    late = series[0]
    late.SOPInstanceUID = late.file_meta.MediaStorageSOPInstanceUID = "2.25.777"
    late.StudyDescription = "CT head"
    house.store.record(house.keep([late]), now=ward.now)
    assert len(ward.store.archive.instances(uid, learners.case(name).series_instance_uid)) == len(before) + 1
    assert learners.client.get(path).json() == before


def test_a_case_whose_images_are_gone_says_so_and_keeps_what_was_said(tmp_path: Path) -> None:
    house = House(data=tmp_path / "gone")
    uid = answered(house, patients_chest())
    ward = Ward(house.data)
    ward.now = datetime.now(UTC)
    learners = Class(client=ward.client(), ward=ward, identifiers=set())
    name, waiting = learners.begin(mix="lesions"), learners.begin(mix="lesions")
    learners.client.post(f"/training/cases/{name}", data={"answer": "present"})
    with writing(house.store._engine) as connection:
        connection.execute(sa.update(instance).values(deleted_at=ward.now))
        connection.execute(sa.delete(training_check))
    for each, told in ((name, "What the AI marked"), (waiting, "Read, then answer")):
        page = learners.client.get(f"/training/cases/{each}").text
        assert "The images of this case are no longer kept here" in page
        assert "Open the images" not in page
        assert told in page
    assert learners.client.get(f"/training/dicomweb/studies/{waiting}/metadata").status_code == 410
    with writing(house.store._engine) as connection:
        connection.execute(sa.update(instance).values(deleted_at=None))
    assert "no longer kept here" not in learners.client.get(f"/training/cases/{waiting}").text
    assert learners.client.get(f"/training/dicomweb/studies/{waiting}/metadata").status_code == 200
    assert uid not in page


def everything(client: TestClient, case: str) -> Iterator[tuple[str, bytes]]:
    """All that the DICOMweb of training answers of a case."""
    root = "/training/dicomweb"
    study = f"{root}/studies/{case}"
    for path in (f"{root}/studies?StudyInstanceUID={case}&includefield=all", f"{study}/metadata", f"{study}/series"):
        yield path, client.get(path).content
    for path in (f"{study}/instances?includefield=all", f"{root}/studies", f"{root}/instances", f"{root}/series"):
        yield path, client.get(path).content
    for one in client.get(f"{study}/instances").json():
        where = f"{study}/series/{one['0020000E']['Value'][0]}/instances/{one['00080018']['Value'][0]}"
        yield where, client.get(where, headers={"Accept": "application/dicom; transfer-syntax=*"}).content
        yield where, client.get(where, headers={"Accept": 'multipart/related; type="application/dicom"'}).content
        for below in ("metadata", "frames/1", "bulkdata/7FE00010"):
            yield f"{where}/{below}", client.get(f"{where}/{below}").content
        yield f"{where}/rendered", client.get(f"{where}/rendered", headers={"Accept": "image/png"}).content


def test_a_round_without_patient_identity_in_any_answer(learners: Class) -> None:
    client, name = learners.client, learners.begin(mix="lesions")
    page = client.get(f"/training/cases/{name}")
    assert "AI" not in page.text.replace("AI triage work list", "").split("<footer>")[0]
    before = list(everything(client, name))
    assert len(before) > 100
    for where, content in [("page", page.content), *before]:
        assert learners.told(content) == [], where
    assert b'"SEG"' not in before[2][1]
    after = client.post(f"/training/cases/{name}", data={"answer": "present", "confidence": "high"})
    assert "You agree with the readers" in after.text
    assert "Lesion, and the AI found one" in after.text
    with_overlay = list(everything(client, name))
    assert b'"SEG"' in with_overlay[2][1]
    for where, content in [("page", after.content), *with_overlay]:
        assert learners.told(content) == [], where
    assert client.post(f"/training/cases/{name}", data={"answer": "absent"}).status_code == 200
    assert learners.case(name).answer is Answer.PRESENT
    done = client.get(f"/training/rounds/{learners.case(name).round_id}")
    assert "1 of 1" in done.text
    progress = client.get("/training").text
    assert re.search(r"Lesion, and the AI found one</th><td class=\"number\">\d+</td>", progress)


def test_the_pixels_and_the_geometry_are_those_of_the_study_and_the_overlay_refers_to_them(learners: Class) -> None:
    client, name = learners.client, learners.begin(mix="lesions")
    case = learners.case(name)
    client.post(f"/training/cases/{name}", data={"answer": "unsure"})
    real = {
        pseudonym(one.sop_instance_uid, key=case.key): dcmread(learners.ward.files.path(one.digest))
        for one in learners.ward.store.archive.instances(case.study_instance_uid)
        if not one.is_result
    }
    shown = client.get(f"/training/dicomweb/studies/{name}/instances").json()
    assert {one["00080018"]["Value"][0] for one in shown if one["00080060"]["Value"] == ["CT"]} == real.keys()
    for one in shown:
        uid = one["00080018"]["Value"][0]
        where = f"/training/dicomweb/studies/{name}/series/{one['0020000E']['Value'][0]}/instances/{uid}"
        answer = client.get(where, headers={"Accept": "application/dicom; transfer-syntax=*"})
        path = learners.ward.folder / f"{uid}.dcm"
        path.write_bytes(answer.content)
        got = dcmread(path)
        if uid in real:
            assert np.array_equal(got.pixel_array, real[uid].pixel_array)
            assert got.ImagePositionPatient == real[uid].ImagePositionPatient
            assert got.PatientIdentityRemoved == "YES"
        else:
            sources = {
                str(source.ReferencedSOPInstanceUID)
                for frame in got.PerFrameFunctionalGroupsSequence
                for derived in frame.DerivationImageSequence
                for source in derived.SourceImageSequence
            }
            assert sources
            assert sources <= real.keys()


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_however_it_is_stored_its_uids_are_replaced_once(tmp_path: Path, syntax: UID) -> None:
    (first, *_) = patients_chest()
    real, values = str(first.SOPInstanceUID), first.pixel_array
    if syntax is ExplicitVRBigEndian:
        first.PixelData = values.byteswap().tobytes()
    first.file_meta.TransferSyntaxUID = syntax
    path = tmp_path / "one.dcm"
    first.save_as(path, enforce_file_format=True)
    key = b"k" * 32
    instance = CaseInstance(
        study_instance_uid="2.25.1",
        series_instance_uid="2.25.2",
        sop_instance_uid="2.25.3",
        sop_class_uid=str(first.SOPClassUID),
        transfer_syntax_uid=syntax,
        modality="CT",
        digest="",
        key=key,
    )
    file = CaseFile(instance=instance, path=path)
    for content in (file.open(), file.explicit_little_endian()):
        got = dcmread(content)
        assert got.SOPInstanceUID == pseudonym(real, key=key)
        assert np.array_equal(got.pixel_array, values)


def test_a_case_is_of_its_learner_alone(learners: Class) -> None:
    name = learners.begin()
    assert learners.ward.store.training.case("somebody else", name) is None
    assert learners.client.get(f"/training/dicomweb/studies/{name}x/metadata").status_code in (400, 404)
    real = learners.case(name).study_instance_uid
    assert learners.client.get(f"/training/dicomweb/studies/{real}/metadata").status_code == 404
    assert learners.client.get(f"/training/cases/{real}").status_code == 404


def test_where_the_ai_was_wrong_is_a_round_of_its_own(learners: Class) -> None:
    name = learners.begin(mix="ai_wrong")
    assert learners.case(name).kind is Kind.AI_FALSE_ALARM
    answer = learners.client.post("/training/rounds", data={"model_name": "none", "mix": "any", "size": "5"})
    assert answer.status_code == 409


@pytest.mark.parametrize("told", [{"answer": "accept"}, {"answer": "present", "confidence": "great"}, {}])
def test_what_is_no_answer_is_refused(learners: Class, told: dict[str, str]) -> None:
    name = learners.begin()
    assert learners.client.post(f"/training/cases/{name}", data=told).status_code == 422
    assert learners.case(name).answer is None


def test_what_stays_is_nothing_that_the_confidentiality_profile_removes() -> None:
    """Held against PS3.15 table E.1-1, as dicom-anonymizer has it: of what it names UIDs alone stay, and as others."""
    uids = ("U_TAGS", "X_Z_U_STAR_TAGS", "ALL_TAGS")
    tables = [getattr(profile, name) for name in dir(profile) if name.endswith("_TAGS") and name not in uids]
    named = {Tag(*each) for table in tables for each in table if len(each) == 2}
    assert len(named) > 400
    assert [name for name in DISPLAYED.split() if Tag(name) in named] == []


def test_of_a_data_set_full_of_identity_nothing_is_left() -> None:
    (first, *_) = patients_chest()
    shown = deidentified(first, key=b"k" * 32)
    text = str(shown)
    assert not [one for one in PATIENT.values() if one in text]
    assert not [element for element in shown.iterall() if element.tag.is_private]


@pytest.mark.parametrize(
    ("role", "status"), [(PersonRole.LEARNER, 200), (PersonRole.READER, 200), (PersonRole.OPS, 403)]
)
def test_who_may_learn(learners: Class, role: PersonRole, status: int) -> None:
    app = as_person(learners.ward.app(), Person(name="somebody", roles=frozenset({role})))
    client = TestClient(app, base_url="http://127.0.0.1:8000")
    assert client.get("/training").status_code == status
    assert client.get("/training/dicomweb/studies").status_code == status
    refused = client.post("/studies/1.2/assessment", data={}).status_code
    assert (refused == 403) == (role is not PersonRole.READER)
