"""UPS-RS (PS3.18 section 11) of a real desk: reviews are searched, retrieved, claimed, told and completed."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from pydicom import Dataset

from services.triage.errors import Reason
from services.triage.finding import Outcome
from services.triage.identity import TWO_PATIENTS
from services.triage.organ import NO_TUMOUR_CLASS
from services.triage.tenant import Tenant
from tests.support.records import NOON, analyse, new_study_uid
from tests.support.shelf import RunningDesk, Shelf, ct_with
from tests.support.ups import A_CODE, DONE, HEADERS, post, put_state

FOUND = ct_with(PatientName="Müller^Jörg", AccessionNumber="A1")
FAILED = ct_with(PatientName="Doe^Jane", PatientID="P2", AccessionNumber="A2", IssuerOfPatientID="HOSPITAL-B")
INCONSISTENT = '299 vigie "The submitted request is inconsistent with the state of the UPS Instance."'


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    shelf = Shelf(tmp_path_factory.mktemp("ups"))
    shelf.analysed(FOUND)
    shelf.analysed(FAILED, Outcome.FAILED)
    return shelf


@pytest.fixture(scope="module")
def desk(shelf: Shelf) -> Iterator[RunningDesk]:
    with shelf.served() as running:
        yield running


@pytest.fixture(scope="module")
def reading_room(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Another store, in which reviews are changed: it holds no files."""
    return Shelf(tmp_path_factory.mktemp("room"))


@pytest.fixture(scope="module")
def room(reading_room: Shelf) -> Iterator[RunningDesk]:
    with reading_room.served(log=reading_room.folder / "log") as running:
        yield running


@pytest.fixture
def study(reading_room: Shelf) -> str:
    """A new one with a result to be reviewed."""
    uid = new_study_uid()
    analyse(reading_room.store, study=uid)
    return uid


@pytest.fixture
def review(room: RunningDesk, study: str) -> str:
    return review_of(room, study)


def review_of(desk: RunningDesk, study: str) -> str:
    """Where the review of a study is that waits to be claimed."""
    (one,) = search(desk, f"StudyInstanceUID={study}&ProcedureStepState=SCHEDULED")
    return f"{desk.dicomweb}/workitems/{one['00080018']['Value'][0]}"


def search(desk: RunningDesk, query: str = "") -> list[dict[str, dict]]:
    answer = httpx.get(f"{desk.dicomweb}/workitems?{query}")
    return answer.json() if answer.content else []


def names(desk: RunningDesk, query: str) -> list[str]:
    return [str(Dataset.from_json(one).PatientName) for one in search(desk, query)]


def read(workitem: str) -> Dataset:
    (one,) = httpx.get(workitem).json()
    return Dataset.from_json(one)


def test_a_review_tells_whose_it_is_what_it_is_and_where_to_look(desk: RunningDesk) -> None:
    review = review_of(desk, FOUND[0].StudyInstanceUID)
    step = read(review)
    assert (step.SOPClassUID, step.SOPInstanceUID) == ("1.2.840.10008.5.1.4.34.6.1", review.rpartition("/")[2])
    assert (step.ProcedureStepState, step.ScheduledProcedureStepPriority) == ("SCHEDULED", "HIGH")
    assert (step.ProcedureStepLabel, step.WorklistLabel) == ("Review: findings", "Vigie review")
    assert "score 0.93, not calibrated on patients" in step.CommentsOnTheScheduledProcedureStep
    assert (step.PatientName, step.PatientID, step.PatientSex) == ("Müller^Jörg", "PHANTOM-1", "O")
    assert step.ReferencedRequestSequence[0].AccessionNumber == "A1"
    assert step.ScheduledWorkitemCodeSequence[0].CodeMeaning == "Interpretation"
    assert (step.InputReadinessState, step.StudyInstanceUID) == ("READY", FOUND[0].StudyInstanceUID)
    images, *results = step.InputInformationSequence
    assert [one.ReferencedSOPInstanceUID for one in images.ReferencedSOPSequence] == [
        one.SOPInstanceUID for one in FOUND
    ]
    assert [one.ReferencedSOPSequence[0].ReferencedSOPClassUID for one in results] == [
        "1.2.840.10008.5.1.4.1.1.66.4",
        "1.2.840.10008.5.1.4.1.1.88.34",
    ]
    for one in (images, *results):
        answer = httpx.get(one.WADORSRetrievalSequence[0].RetrieveURL)
        assert answer.status_code == 200
        assert answer.content.count(b"\r\nContent-Type: application/dicom;") == len(one.ReferencedSOPSequence)
    assert "TransactionUID" not in step


def test_every_attribute_of_return_type_1_and_2_is_in_a_search(desk: RunningDesk) -> None:
    required = """
        SOPClassUID SOPInstanceUID ScheduledProcedureStepPriority ProcedureStepLabel WorklistLabel
        ScheduledProcessingParametersSequence ScheduledStationNameCodeSequence ScheduledStationClassCodeSequence
        ScheduledStationGeographicLocationCodeSequence ScheduledHumanPerformersSequence
        ScheduledProcedureStepStartDateTime ScheduledWorkitemCodeSequence InputReadinessState
        InputInformationSequence StudyInstanceUID PatientName PatientID OtherPatientIDsSequence PatientBirthDate
        PatientSex AdmissionID IssuerOfAdmissionIDSequence AdmittingDiagnosesDescription
        AdmittingDiagnosesCodeSequence ReferencedRequestSequence ProcedureStepState
        ProcedureStepProgressInformationSequence"""
    for one in search(desk):
        assert [name for name in required.split() if name not in Dataset.from_json(one)] == []


def test_a_failure_is_a_task_that_says_so(desk: RunningDesk) -> None:
    (one,) = search(desk, "PatientID=P2")
    step = Dataset.from_json(one)
    assert step.ProcedureStepLabel == "Review: analysis failed: read without AI"
    assert step.CommentsOnTheScheduledProcedureStep.endswith("]")
    assert step.ScheduledProcedureStepPriority == "MEDIUM"


def test_organs_alone_are_a_task_that_says_what_was_not_looked_for(reading_room: Shelf, room: RunningDesk) -> None:
    uid = new_study_uid()
    analyse(reading_room.store, study=uid, outcome=Outcome.NOT_ANALYSED, reason=NO_TUMOUR_CLASS)
    step = read(review_of(room, uid))
    assert step.ProcedureStepLabel == "Review: not analysed for lesions: read without AI"
    assert len(step.ProcedureStepLabel) <= 64, "LO"
    assert step.CommentsOnTheScheduledProcedureStep == f"{NO_TUMOUR_CLASS.text} [no_tumour_class]"


def test_the_study_of_two_patients_is_a_task_under_neither(reading_room: Shelf, room: RunningDesk) -> None:
    uid = new_study_uid()
    reason = Reason(code=TWO_PATIENTS, text="the images carry 2 patient IDs")
    analyse(reading_room.store, study=uid, outcome=Outcome.NOT_ANALYSED, reason=reason)
    step = read(review_of(room, uid))
    assert (step.PatientName, step.PatientID, step.ReferencedRequestSequence[0].AccessionNumber) == ("", "", "")
    assert search(room, f"StudyInstanceUID={uid}&PatientID=P1") == []
    assert "2 patient IDs" in step.CommentsOnTheScheduledProcedureStep


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["Müller^Jörg", "Doe^Jane"]),
        ("ProcedureStepState=SCHEDULED", ["Müller^Jörg", "Doe^Jane"]),
        ("ProcedureStepState=COMPLETED", []),
        ("ProcedureStepState=NONE", []),
        ("00741200=HIGH", ["Müller^Jörg"]),
        ("ReferencedRequestSequence.AccessionNumber=A2", ["Doe^Jane"]),
        ("0040A370.00080050=A1", ["Müller^Jörg"]),
        ("PatientName=mueller", []),
        ("PatientName=mueller&fuzzymatching=true", ["Müller^Jörg"]),
        ("IssuerOfPatientID=HOSPITAL-B", ["Doe^Jane"]),
        pytest.param(f"StudyInstanceUID={FOUND[0].StudyInstanceUID}", ["Müller^Jörg"], id="StudyInstanceUID"),
        ("ScheduledProcedureStepStartDateTime=20260301-20260302", ["Müller^Jörg", "Doe^Jane"]),
        ("ScheduledProcedureStepStartDateTime=-20260228", []),
        ("ScheduledWorkitemCodeSequence.CodeValue=110005", ["Müller^Jörg", "Doe^Jane"]),
        ("ScheduledStationNameCodeSequence.CodeValue=X", []),
        ("limit=1&offset=1", ["Doe^Jane"]),
    ],
)
def test_reviews_are_matched(desk: RunningDesk, query: str, found: list[str]) -> None:
    assert names(desk, query) == found


def test_a_search_says_whether_nothing_matches_or_more_remain(desk: RunningDesk) -> None:
    statuses = {query: httpx.get(f"{desk.dicomweb}/workitems?{query}").status_code for query in ("", "limit=1", "x=1")}
    assert statuses == {"": 200, "limit=1": 206, "x=1": 400}
    nothing = httpx.get(f"{desk.dicomweb}/workitems?PatientID=none")
    assert (nothing.status_code, nothing.content) == (204, b"")
    images = [Dataset.from_json(one).InputInformationSequence[0] for one in search(desk, "includefield=all")]
    assert [len(one.ReferencedSOPSequence) for one in images] == [9, 9]
    assert len(Dataset.from_json(search(desk)[0]).InputInformationSequence[0].ReferencedSOPSequence) == 0


def test_a_review_is_claimed_told_and_completed(room: RunningDesk, study: str, review: str) -> None:
    claimed = put_state(review, "IN PROGRESS")
    assert (claimed.status_code, claimed.content, claimed.headers["content-location"]) == (200, b"", review)
    progress = {"00741002": {"vr": "SQ", "Value": [{"00741004": {"vr": "DS", "Value": [50]}}]}}
    assert post(review, progress, "?transaction-uid=1.2.3").status_code == 200
    assert post(review, DONE, "?1.2.3").status_code == 200
    assert put_state(review, "COMPLETED").status_code == 200
    step = read(review)
    assert (step.ProcedureStepState, step.ProcedureStepProgressInformationSequence[0].ProcedureStepProgress) == (
        "COMPLETED",
        50,
    )
    assert Dataset.from_json(DONE).UnifiedProcedureStepPerformedProcedureSequence == (
        step.UnifiedProcedureStepPerformedProcedureSequence
    )
    again = put_state(review, "COMPLETED")
    assert (again.status_code, again.headers["warning"]) == (
        200,
        '299 vigie "The UPS is already in the requested state of COMPLETED."',
    )
    (listed,) = httpx.get(f"{room.url}/api/studies?search={study}").json()["studies"]
    assert listed["review"] == "COMPLETED"
    assert "Another system has completed its review." in httpx.get(f"{room.url}/?search={study}").text


@pytest.mark.parametrize(
    "query", ["tenant=hosp_a", "accept=application/dicom%2Bjson", "1.2.9=x", "tenant=hosp_a&1.2.3", "transaction-uid"]
)
def test_a_parameter_that_is_no_transaction_uid_is_not_taken_for_one(
    room: RunningDesk, reading_room: Shelf, study: str, query: str
) -> None:
    reading_room.store.move(study, Tenant(name="hosp_a"), actor="test", now=NOON)
    review = review_of(room, study)
    body = {"00741000": {"vr": "CS", "Value": ["IN PROGRESS"]}, "00081195": {"vr": "UI", "Value": ["1.2.3"]}}
    claimed = httpx.put(f"{review}/state?{query}", content=json.dumps([body]), headers=HEADERS)
    assert claimed.status_code == 200
    assert post(review, DONE, f"?{query}").status_code == (200 if "1.2.3" in query else 400)
    assert post(review, DONE | {"00081195": body["00081195"]}, f"?{query}").status_code == 200


def test_of_readers_who_claim_it_together_one_wins(review: str) -> None:
    with ThreadPoolExecutor(6) as readers:
        answers = list(readers.map(lambda number: put_state(review, "IN PROGRESS", f"1.2.{number}"), range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 5
    assert {answer.headers.get("warning") for answer in answers if answer.status_code == 409} == {INCONSISTENT}
    winner = next(number for number, answer in enumerate(answers) if answer.status_code == 200)
    assert post(review, DONE, f"?transaction-uid=1.2.{winner}").status_code == 200


@pytest.mark.parametrize(
    ("state", "transaction_uid", "status", "code", "warning"),
    [
        ("COMPLETED", "1.2.3", 409, "final_state_requirements", INCONSISTENT),
        ("COMPLETED", "1.2.4", 400, "transaction_uid_incorrect", '299 vigie "The Transaction UID is incorrect."'),
        ("COMPLETED", "", 400, "transaction_uid_missing", '299 vigie "The Transaction UID is missing."'),
        ("COMPLETED", "abc", 400, "invalid_uid", None),
        ("IN PROGRESS", "1.2.4", 409, "already_in_progress", INCONSISTENT),
        ("SCHEDULED", "1.2.3", 400, "may_not_be_scheduled", INCONSISTENT),
        ("DONE", "1.2.3", 400, "invalid_state", None),
    ],
)
def test_a_wrong_change_of_state_is_refused_with_its_warning_and_a_way_out(
    review: str, state: str, transaction_uid: str, status: int, code: str, warning: str | None
) -> None:
    put_state(review, "IN PROGRESS")
    answer = put_state(review, state, transaction_uid)
    assert (answer.status_code, answer.json()["code"], answer.headers.get("warning")) == (status, code, warning)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["way_out"]
    assert read(review).ProcedureStepState == "IN PROGRESS"


@pytest.mark.parametrize(
    ("content", "media_type", "status", "code"),
    [
        (b"", "application/dicom+json", 400, "malformed_data_set"),
        (b"{", "application/dicom+json", 400, "malformed_data_set"),
        (b"[1]", "application/dicom+json", 400, "malformed_data_set"),
        (b"[{}, {}]", "application/dicom+json", 400, "malformed_data_set"),
        (b'[{"00741002": {"Value": "x"}}]', "application/dicom+json", 400, "malformed_data_set"),
        (b"[{}]", "application/dicom+json", 400, "nothing_to_update"),
        (b'[{"00100010": {"vr": "PN"}}]', "application/dicom+json", 400, "not_updatable"),
        (b'[{"00741000": {"vr": "CS", "Value": ["COMPLETED"]}}]', "application/dicom+json", 400, "not_updatable"),
        (b'[{"00741002": {"vr": "LO", "Value": ["x"]}}]', "application/dicom+json", 400, "malformed_data_set"),
        (b'[{"00404005": {"vr": "DT"}}]', "application/dicom+json", 400, "malformed_data_set"),
        (b"[{}]", "text/plain", 415, "unsupported_media_type"),
        (b" " * 1_000_001, "application/dicom+json", 413, "too_large"),
    ],
)
def test_what_cannot_be_taken_changes_nothing(
    review: str, content: bytes, media_type: str, status: int, code: str
) -> None:
    before = httpx.get(review).json()
    answer = httpx.post(review, content=content, headers={"Content-Type": media_type})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert httpx.get(review).json() == before


def test_an_update_without_the_claim_says_that_it_is_not_claimed(review: str) -> None:
    assert post(review, {"00404025": A_CODE}).status_code == 200
    assert read(review).ScheduledStationNameCodeSequence[0].CodeValue == "110005"
    early = post(review, DONE)
    assert (early.status_code, early.json()["code"]) == (409, "not_in_progress")
    assert early.headers["warning"] == '299 vigie "The target URI did not reference a claimed Workitem."'
    put_state(review, "IN PROGRESS")
    for query in ("", "?transaction-uid=1.2.4"):
        assert post(review, DONE, query).status_code == 400
    assert post(review, DONE | {"00081195": {"vr": "UI", "Value": ["1.2.3"]}}).status_code == 200
    assert "TransactionUID" not in read(review)


def test_a_review_is_canceled_on_request(review: str) -> None:
    reason = json.dumps([{"00741238": {"vr": "LT", "Value": ["read elsewhere"]}}])
    answer = httpx.post(f"{review}/cancelrequest", content=reason, headers=HEADERS)
    assert answer.status_code == 202
    progress = read(review).ProcedureStepProgressInformationSequence[0]
    assert progress.ReasonForCancellation == "read elsewhere"
    assert "ProcedureStepCancellationDateTime" in progress
    assert progress.ProcedureStepDiscontinuationReasonCodeSequence[0].CodeValue == "110513"
    again = httpx.post(f"{review}/cancelrequest")
    assert (again.status_code, again.headers["warning"]) == (
        202,
        '299 vigie "The UPS is already in the requested state of CANCELED."',
    )


def test_what_somebody_has_claimed_is_not_canceled_on_request(review: str) -> None:
    put_state(review, "IN PROGRESS")
    refused = httpx.post(f"{review}/cancelrequest")
    assert (refused.status_code, refused.json()["code"]) == (409, "performer_not_reachable")


def test_a_newer_result_takes_over_the_review(reading_room: Shelf, room: RunningDesk, study: str, review: str) -> None:
    put_state(review, "IN PROGRESS")
    analyse(reading_room.store, study=study, at=100, number=2)
    canceled = read(review)
    assert canceled.ProcedureStepState == "CANCELED"
    assert canceled.ProcedureStepProgressInformationSequence[0].ReasonForCancellation == "superseded by a newer result"
    replaced = read(review_of(room, study)).ReplacedProcedureStepSequence[0].ReferencedSOPInstanceUID
    assert replaced == review.rpartition("/")[2]
    late_answer = put_state(review, "COMPLETED")
    assert (late_answer.status_code, late_answer.json()["code"]) == (409, "no_longer_updated")


def test_others_make_no_workitems_and_get_no_events(desk: RunningDesk) -> None:
    made = post(f"{desk.dicomweb}/workitems", DONE)
    assert (made.status_code, made.json()["code"]) == (403, "created_by_us_alone")
    review = review_of(desk, FOUND[0].StudyInstanceUID)
    for path in ("/subscribers/READER", "/subscribers/READER/suspend"):
        assert httpx.post(review + path).status_code == 501
    assert put_state(f"{desk.dicomweb}/workitems/1.2.3", "IN PROGRESS").json()["code"] == "unknown_workitem"
    assert httpx.get(f"{desk.dicomweb}/workitems/abc").json()["code"] == "invalid_uid"
    assert httpx.get(review, headers={"Accept": "application/dicom+xml"}).status_code == 406


def test_no_person_is_named_in_log_or_history(reading_room: Shelf, room: RunningDesk, study: str, review: str) -> None:
    put_state(review, "IN PROGRESS")
    performer = {"vr": "SQ", "Value": [{"00404037": {"vr": "PN", "Value": [{"Alphabetic": "House^Gregory"}]}}]}
    item = DONE["00741216"]["Value"][0] | {"00404035": performer}
    assert post(review, {"00741216": {"vr": "SQ", "Value": [item]}}, "?1.2.3").status_code == 200
    put_state(review, "COMPLETED")
    told = httpx.get(f"{room.url}/api/studies/{study}").json()
    assert "review_completed" in json.dumps(told)
    assert "Gregory" not in json.dumps(told)
    assert "Gregory" not in (reading_room.folder / "log").read_text()
    assert "House" in str(read(review).UnifiedProcedureStepPerformedProcedureSequence)
