"""Transactions to a real FHIR server: what it holds after one, after its repetition, a replacement and a recall."""

import base64
import json
from dataclasses import replace

import pytest
from fhir.resources.R4B.bundle import Bundle

from services.backends.files import FolderStudyFiles
from services.backends.receivers.fhir_r4b import transaction
from services.backends.receivers.fhir_server import FhirNotifier
from services.backends.receivers.sample import sample
from services.backends.senders.link import PLAIN
from services.triage.errors import DestinationRefused, DestinationUnavailable, Reason
from services.triage.finding import Flag, Outcome
from services.triage.result import IDENTITY_CORRECTED
from services.triage.uncertainty import TIME_LIMIT, Spread, Uncertainty
from tests.support.fhir import fhir_server, install_fhir_server
from tests.support.http_server import Server, serving
from tests.support.records import lesion
from tests.support.telling import credentials_file, fhir_table, replacing, value_of, with_finding, with_study

BROKEN = Reason(code="out_of_memory", text="the analysis needs more memory than there is")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return install_fhir_server(tmp_path_factory.mktemp("fhir") / "server")


@pytest.fixture
def server(installed):
    with fhir_server(installed) as running:
        yield running


@pytest.fixture
def tell(server, tmp_path):
    return notifier(server.url, tmp_path).notify


def notifier(url, folder, credentials=None, **choices):
    site, files = fhir_table(url, **choices), FolderStudyFiles(folder)
    return FhirNotifier(name="ris-fhir", site=site, link=PLAIN, files=files, credentials=credentials)


def observations(server):
    """Status by the text of its value."""
    return {one["valueCodeableConcept"]["text"]: one["status"] for one in server.all("Observation")}


def test_a_result_is_a_preliminary_report_with_its_observations_images_device_and_a_task(server, tell):
    tell(sample())
    report, study = server.one("DiagnosticReport"), server.one("ImagingStudy")
    assert report["status"] == "preliminary"
    assert report["subject"]["identifier"]["value"] == "SAMPLE-1"
    assert "score 0.93 (not calibrated on patients)" in report["conclusion"]
    assert study["identifier"] == [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.826.0.1.3680043.10.1.1"}]
    assert observations(server) == {"found": "preliminary", "Lesion 1": "preliminary"}
    assert {one["reference"] for one in report["result"]} == {
        f"Observation/{one['id']}" for one in server.all("Observation")
    }
    task = server.one("Task")
    assert (task["status"], task["priority"]) == ("requested", "urgent")
    assert task["focus"]["reference"] == f"DiagnosticReport/{report['id']}"
    assert server.one("Device")["version"][0]["value"] == "1.2.0"


def test_a_repetition_makes_nothing_new_and_leaves_a_task_that_was_done(server, tell):
    tell(sample())
    server.put(server.one("Task") | {"status": "completed"})
    tell(sample())
    assert {
        kind: len(server.all(kind)) for kind in ("DiagnosticReport", "ImagingStudy", "Device", "Task")
    } == dict.fromkeys(("DiagnosticReport", "ImagingStudy", "Device", "Task"), 1)
    assert len(server.all("Observation")) == 2
    assert server.one("Task")["status"] == "completed"


def test_the_images_are_named_but_not_changed_where_the_site_has_them(server, tell):
    tell(sample())
    theirs = server.one("ImagingStudy") | {"description": "theirs"}
    server.put(theirs)
    tell(replacing(sample()))
    assert server.one("ImagingStudy")["description"] == "theirs"


def test_images_that_vigie_alone_tells_of_follow_a_corrected_identity(server, tmp_path):
    tell = notifier(server.url, tmp_path, imaging_study="update").notify
    tell(sample())
    tell(with_study(sample(), patient_id="CORRECTED"))
    for kind in ("ImagingStudy", "DiagnosticReport"):
        assert server.one(kind)["subject"]["identifier"]["value"] == "CORRECTED"


def test_a_replacement_corrects_the_report_and_strikes_what_is_no_longer_seen(server, tell):
    first = with_finding(sample(), lesions=(lesion(1), lesion(2)))
    tell(first)
    tell(with_finding(replacing(first), flag=Flag.ROUTINE, lesions=(lesion(2),)))
    assert observations(server) == {"found": "preliminary", "Lesion 1": "entered-in-error", "Lesion 2": "preliminary"}
    report = server.one("DiagnosticReport")
    assert len(report["result"]) == 2
    assert {(one["status"], one["priority"]) for one in server.all("Task")} == {
        ("cancelled", "urgent"),
        ("requested", "routine"),
    }


def test_a_recall_leaves_nothing_that_could_be_believed(server, tell):
    tell(sample())
    tell(sample(withdrawn=True))
    assert server.one("DiagnosticReport")["status"] == "entered-in-error"
    assert server.one("DiagnosticReport")["conclusion"].startswith(
        "The AI result is withdrawn: it segments the diaphragm."
    )
    assert set(observations(server).values()) == {"entered-in-error"}
    assert server.one("Task")["status"] == "cancelled"


@pytest.mark.parametrize("after", [replacing(sample()), sample(withdrawn=True)], ids=["replaced", "recalled"])
@pytest.mark.parametrize("status", ["completed", "failed", "rejected", "entered-in-error"])
def test_a_review_that_a_person_ended_stays_as_they_left_it(server, tell, after, status):
    tell(sample())
    server.put(server.one("Task") | {"status": status, "note": [{"text": "theirs"}]})
    ended = server.one("Task")
    for _ in range(2):
        tell(after)
        assert next(one for one in server.all("Task") if one["id"] == ended["id"]) == ended


def test_a_review_that_is_under_way_is_cancelled_with_all_that_was_written_into_it(server, tell):
    tell(sample())
    server.put(server.one("Task") | {"status": "in-progress", "owner": {"display": "Dr Who"}})
    under_way = server.one("Task")
    for _ in range(2):
        tell(sample(withdrawn=True))
    task = server.one("Task")
    why = {"text": "The AI result is withdrawn: it segments the diaphragm. Read the study as usual."}
    assert task == under_way | {"status": "cancelled", "statusReason": why, "meta": task["meta"]}
    assert server.versions(task) == 3


def test_a_review_that_ends_while_it_is_being_cancelled_is_read_again(server, tell, monkeypatch):
    tell(sample())
    ask = FhirNotifier._ask

    def meanwhile(notifier, request):
        answer = ask(notifier, request)
        if server.one("Task")["status"] == "requested":
            server.put(server.one("Task") | {"status": "completed"})
        return answer

    monkeypatch.setattr(FhirNotifier, "_ask", meanwhile)
    with pytest.raises(DestinationUnavailable, match="HTTP 412"):
        tell(sample(withdrawn=True))
    tell(sample(withdrawn=True))
    assert (server.one("Task")["status"], server.one("DiagnosticReport")["status"]) == ("completed", "entered-in-error")


def test_what_was_reviewed_is_not_to_be_reviewed_again_under_corrected_data(server, tell):
    first = sample()
    tell(first)
    server.put(server.one("Task") | {"status": "completed"})
    tell(replace(first, withdrawn=IDENTITY_CORRECTED))
    for result_id, rewrites in (("6b", ("5a",)), ("7c", ("6b", "5a"))):
        result = replace(first.result, result_id=result_id * 16)
        corrected = replace(first, result=result, rewrites=tuple(one * 16 for one in rewrites))
        tell(with_study(corrected, patient_id="CORRECTED"))
    assert [one["status"] for one in server.all("Task")] == ["completed"]
    assert server.one("DiagnosticReport")["status"] == "preliminary"


def test_what_nobody_had_reviewed_is_to_be_reviewed_under_corrected_data(server, tell):
    tell(sample())
    tell(replace(sample(), withdrawn=IDENTITY_CORRECTED))
    tell(replace(replacing(sample()), earlier=None, rewrites=(sample().result.result_id,)))
    assert sorted(one["status"] for one in server.all("Task")) == ["cancelled", "requested"]


def test_the_task_of_another_is_never_touched_whatever_a_search_answers(tmp_path):
    fake, theirs = Server(), {"resourceType": "Task", "id": "1", "identifier": [{"system": "urn:x", "value": "y"}]}
    fake.body = json.dumps({"entry": [{"resource": theirs}]}).encode()
    with serving(fake) as url:
        notifier(url, tmp_path).notify(sample(withdrawn=True))
    assert fake.requests[0][0].endswith("/Task?identifier=urn:vigie%7Creview:" + "5a" * 16)
    assert fake.requests[0][1]["Cache-Control"] == "no-cache"
    assert b'"Task"' not in fake.content


def test_a_search_that_is_refused_tells_nothing_at_all(tmp_path):
    fake = Server()
    fake.status = 404
    with serving(fake) as url, pytest.raises(DestinationRefused, match="HTTP 404 to the search"):
        notifier(url, tmp_path).notify(sample(withdrawn=True))
    assert [content for _, _, content in fake.requests] == [b""]


def test_two_models_of_one_study_have_reports_of_their_own(server, tell):
    tell(sample())
    other = replace(sample().result, model=replace(sample().result.model, name="ct_liver"), result_id="7c" * 16)
    tell(with_finding(replace(sample(), result=other), lesions=(replace(lesion(), tracking_uid="2.25.77"),)))
    assert len(server.all("DiagnosticReport")) == 2
    assert len(server.all("Observation")) == 4
    assert len(server.all("ImagingStudy")) == 1


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.NOT_ANALYSED])
def test_what_was_not_looked_at_is_reported_without_a_score_and_without_a_review(server, tell, outcome):
    tell(with_finding(sample(), outcome=outcome, score=None, flag=Flag.ROUTINE, lesions=(), reason=BROKEN))
    (summary,) = server.all("Observation")
    assert "component" not in summary
    assert "[out_of_memory]" in server.one("DiagnosticReport")["conclusion"]
    assert server.all("Task") == []


@pytest.mark.parametrize(
    ("uncertainty", "kept"),
    [
        (Uncertainty(spread=Spread(runs=4, sd=0.1, lowest=0.6, highest=0.95)), "valueRange"),
        (Uncertainty(reason=TIME_LIMIT), "dataAbsentReason"),
    ],
)
def test_a_server_keeps_how_the_score_varies_or_why_that_is_not_known(server, tell, uncertainty, kept):
    first = with_finding(sample(), lesions=(), uncertainty=uncertainty)
    tell(first)
    (summary,) = server.all("Observation")
    assert kept in summary["component"][-1]
    tell(with_finding(replacing(first), uncertainty=None))
    (summary,) = server.all("Observation")
    assert not any("valueRange" in one or "dataAbsentReason" in one for one in summary["component"])


def test_odd_dates_and_numbers_are_left_out(server, tell):
    odd = with_study(sample(), study_date="20261399", patient_birth_date="unknown")
    header = replace(odd.instances[0].header, series_number=-1, series_description=" ")
    tell(replace(odd, instances=(replace(odd.instances[0], header=header),)))
    assert "started" not in server.one("ImagingStudy")
    assert "number" not in server.one("ImagingStudy")["series"][0]


def test_what_r4b_cannot_tell_is_given_up_and_no_value_is_repeated():
    header = replace(sample().instances[0].header, modality="C T\n  secret")
    odd = replace(sample(), instances=(replace(sample().instances[0], header=header),))
    with pytest.raises(DestinationRefused, match="modality") as error:
        transaction(odd, value_of(odd), fhir_table())
    assert "secret" not in str(error.value)


def test_a_study_without_patient_order_or_date_is_told_all_the_same(server, tell):
    empty = dict.fromkeys(
        ("patient_id", "issuer_of_patient_id", "accession_number", "study_date", "study_description"), ""
    )
    tell(with_study(sample(), **empty))
    assert "identifier" not in server.one("DiagnosticReport")["subject"]
    assert "effectiveDateTime" not in server.one("DiagnosticReport")


def test_identifiers_with_odd_characters_find_their_resources_again(server, tell):
    odd = replace(sample().result, model=replace(sample().result.model, name="lung & liver v+2"))
    for _ in range(2):
        tell(replace(sample(), result=odd))
    assert len(server.all("DiagnosticReport")) == len(server.all("Device")) == 1


def test_a_site_has_its_own_codes_and_systems():
    site = fhir_table(
        issuers={"HOSPITAL": "urn:oid:1.2.3"},
        codes={"report": "AI1^AI chest^99RIS", "volume": "V^Vol^99OTHER"},
        systems={"99RIS": "https://ris/codes"},
        order_system="https://ris/orders",
    )
    bundle = json.loads(transaction(sample(), value_of(sample()), site))
    resources = {one["resource"]["resourceType"]: one["resource"] for one in bundle["entry"]}
    report = resources["DiagnosticReport"]
    assert report["code"]["coding"][0] == {"system": "https://ris/codes", "code": "AI1", "display": "AI chest"}
    assert report["subject"]["identifier"] == {"system": "urn:oid:1.2.3", "value": "SAMPLE-1"}
    assert [(one["identifier"]["system"], one["identifier"]["value"]) for one in report["basedOn"]] == [
        ("https://ris/orders", "PLACER-1"),
        ("https://ris/orders", "ACC-1"),
    ]
    assert '"urn:vigie:scheme:99OTHER"' in json.dumps(bundle)


@pytest.mark.parametrize("notification", [sample(), sample(withdrawn=True), replacing(sample())])
def test_every_bundle_is_r4b(notification):
    Bundle.model_validate_json(transaction(notification, value_of(notification), fhir_table()))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, DestinationRefused),
        (422, DestinationRefused),
        (301, DestinationRefused),
        (401, DestinationUnavailable),
        (409, DestinationUnavailable),
        (412, DestinationRefused),
        (429, DestinationUnavailable),
        (503, DestinationUnavailable),
    ],
)
def test_a_servers_status_says_whether_to_come_again(tmp_path, status, expected):
    fake = Server()
    fake.status = status
    with serving(fake) as url, pytest.raises(expected, match=f"HTTP {status}"):
        notifier(url, tmp_path).notify(sample())


def test_an_entry_that_failed_is_a_refusal_even_where_the_answer_is_a_success(tmp_path):
    fake = Server()
    fake.body = json.dumps({"entry": [{"response": {"status": "201"}}, {"response": {"status": "422 no"}}]}).encode()
    with serving(fake) as url, pytest.raises(DestinationRefused, match="422"):
        notifier(url, tmp_path).notify(sample())


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ('token = "t0"', "Bearer t0"),
        ('user = "u"\npassword = "p"', "Basic " + base64.b64encode(b"u:p").decode()),
        ("", None),
    ],
)
def test_credentials_are_read_anew_for_each_request(tmp_path, table, expected):
    fake = Server()
    secrets = credentials_file(tmp_path, **{"ris-fhir": table})
    with serving(fake) as url:
        notifier(url, tmp_path, credentials=secrets).notify(sample())
        assert fake.headers.get("Authorization") == expected
        credentials_file(tmp_path, **{"ris-fhir": 'token = "t1"'})
        notifier(url, tmp_path, credentials=secrets).notify(sample())
    assert fake.headers["Authorization"] == "Bearer t1"
