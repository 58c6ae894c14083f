"""What receivers are told of how a score varies over mirrored runs, or why that is not known; else nothing."""

import json
from dataclasses import replace

import hl7
import pytest
from fhir.resources.R4B.bundle import Bundle

from services.backends.receivers.fhir_r4b import transaction
from services.backends.receivers.hl7_oru import oru_message
from services.backends.receivers.sample import sample
from services.backends.receivers.webhook import payload
from services.triage.errors import Reason
from services.triage.notification import Notification
from services.triage.uncertainty import NO_CANDIDATE, OUT_OF_MEMORY, TIME_LIMIT, Spread, Uncertainty
from tests.support.records import lesion
from tests.support.telling import fhir_table, hl7_table, replacing, value_of, webhook_table, with_finding

WIDE = Spread(runs=4, sd=0.1275, lowest=0.61, highest=0.996)
NARROW = Spread(runs=4, sd=0.01, lowest=0.4, highest=0.43)
CODE = "score_over_runs"
WORDS = "score 0.61 to 0.99 over 4 runs, mirrored ones included, standard deviation 0.13; no interval of confidence"


@pytest.fixture
def measured() -> Notification:
    lesions = (replace(lesion(1, score=0.93), spread=WIDE), replace(lesion(2, score=0.41), spread=NARROW))
    return with_finding(sample(), lesions=lesions, uncertainty=Uncertainty(spread=WIDE))


def not_known(reason: Reason) -> Notification:
    return with_finding(sample(), uncertainty=Uncertainty(reason=reason))


def parsed(notification: Notification, **choices) -> hl7.Message:
    return hl7.parse(oru_message(notification, value_of(notification), hl7_table(**choices)))


def spreads(message: hl7.Message, code: str = CODE) -> list[tuple[str, ...]]:
    """Type, sub-ID, value, unit and status of the observations of a spread."""
    found = (obx for obx in message.segments("OBX") if str(obx[3][0][0]) == code)
    return [(str(obx[2]), str(obx[4]), str(obx[5]), str(obx[6]), str(obx[11])) for obx in found]


def in_fhir(notification: Notification) -> dict[str, dict]:
    """Each Observation, by the text of its value, with what it says of its spread; checked against R4B."""
    text = transaction(notification, value_of(notification), fhir_table())
    Bundle.model_validate_json(text)
    observations = [one["resource"] for one in json.loads(text)["entry"]]
    return {
        one["valueCodeableConcept"]["text"]: [
            each for each in one["component"] if each["code"]["coding"][0]["code"] == CODE
        ]
        for one in observations
        if one["resourceType"] == "Observation"
    }


def notes_of(notification: Notification) -> dict[str, list[dict[str, str]]]:
    bundle = json.loads(transaction(notification, value_of(notification), fhir_table()))
    told = [one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == "Observation"]
    return {one["valueCodeableConcept"]["text"]: one["note"] for one in told}


def impressions(notification: Notification) -> list[list[str]]:
    """The lines of the HL7 impression and of the FHIR conclusion."""
    message = parsed(notification)
    (told,) = (obx for obx in message.segments("OBX") if str(obx[3][0][0]) == "19005-8")
    bundle = json.loads(transaction(notification, value_of(notification), fhir_table()))
    (report,) = (one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == "DiagnosticReport")
    return [[message.unescape(str(line)) for line in told[5]], report["conclusion"].splitlines()]


def test_hl7_has_an_interval_behind_each_score_and_says_what_it_is(measured: Notification) -> None:
    message = parsed(measured)
    percent = "%^Percent^UCUM"
    assert spreads(message) == [
        ("SN", "", "^61^-^99", percent, "P"),
        ("SN", "1", "^61^-^99", percent, "P"),
        ("SN", "2", "^40^-^43", percent, "P"),
    ]
    codes = [str(obx[3][0][0]) for obx in message.segments("OBX")]
    assert [codes[at - 1] for at, code in enumerate(codes) if code == CODE] == ["111012"] * 3, "beside the score's"
    assert [str(nte[3]) for nte in message.segments("NTE")].count(WORDS) == 2


def test_fhir_has_it_as_a_component_of_each_observation_with_a_score(measured: Notification) -> None:
    told = in_fhir(measured)
    unit = {"unit": "%", "system": "http://unitsofmeasure.org", "code": "%"}
    (found,), (first,), (second,) = told["found"], told["Lesion 1"], told["Lesion 2"]
    assert found["valueRange"] == first["valueRange"] == {"low": {"value": 61, **unit}, "high": {"value": 99, **unit}}
    assert second["valueRange"] == {"low": {"value": 40, **unit}, "high": {"value": 43, **unit}}
    assert found["code"] == {
        "coding": [
            {"system": "urn:vigie:scheme:99VIGIE", "code": CODE, "display": "Certainty of Finding over mirrored runs"}
        ]
    }
    assert [one["text"] for one in notes_of(measured)["Lesion 1"]][1:] == [WORDS]
    assert [one["text"] for one in notes_of(measured)["found"]][1:] == [WORDS]
    assert len(notes_of(sample())["Lesion 1"]) == 1


@pytest.mark.parametrize(("reason", "absent"), [(TIME_LIMIT, "not-performed"), (OUT_OF_MEMORY, "error")])
def test_where_it_is_not_known_the_reason_stands_beside_the_studys_score_and_nowhere_a_number(
    reason: Reason, absent: str
) -> None:
    notification = not_known(reason)
    message, told = parsed(notification), in_fhir(notification)
    words = f"Uncertainty of the score not known: {reason.text} [{reason.code}]"
    assert spreads(message) == [("SN", "", "", "", "X")]
    assert words in [str(nte[3]) for nte in message.segments("NTE")]
    assert told["Lesion 1"] == []
    (found,) = told["found"]
    assert "valueRange" not in found
    assert found["dataAbsentReason"] == {
        "coding": [
            {"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": absent},
            {"system": "urn:vigie:scheme:99VIGIE", "code": reason.code, "display": reason.text},
        ]
    }
    assert all(words in lines for lines in impressions(notification))


def test_people_read_it_in_the_impression_once(measured: Notification) -> None:
    line = "Study score over 4 runs, mirrored ones included: 0.61 to 0.99; no interval of confidence."
    assert [lines.count(line) for lines in impressions(measured)] == [1, 1]


@pytest.mark.parametrize("silent", [sample(), with_finding(not_known(NO_CANDIDATE), score=0.0, lesions=())])
def test_nothing_is_said_where_nobody_asked_or_no_score_could_vary(silent: Notification) -> None:
    assert spreads(parsed(silent)) == []
    assert [one for components in in_fhir(silent).values() for one in components] == []
    assert not any("runs" in line or "Uncertainty" in line for lines in impressions(silent) for line in lines)


def test_a_score_that_is_told_anew_without_it_takes_the_old_one_out_of_a_ris(measured: Notification) -> None:
    plain = tuple(replace(one, spread=None) for one in measured.result.finding.lesions)
    message = parsed(with_finding(replacing(measured), lesions=plain, uncertainty=None))
    assert [(sub_id, value, status) for _, sub_id, value, _, status in spreads(message)] == [
        ("", "", "D"),
        ("1", "", "D"),
        ("2", "", "D"),
    ]


def test_of_a_result_that_is_taken_back_it_is_wrong_too_and_of_a_lost_lesion_deleted(measured: Notification) -> None:
    back = replace(measured, withdrawn=sample(withdrawn=True).withdrawn)
    assert {status for *_, status in spreads(parsed(back))} == {"W"}
    unknown = replace(not_known(TIME_LIMIT), withdrawn=back.withdrawn)
    assert {status for *_, status in spreads(parsed(unknown))} == {"W"}
    plain = replace(back, result=sample().result, earlier=measured.result)
    assert spreads(parsed(plain)) == []
    fewer = with_finding(replacing(measured), lesions=measured.result.finding.lesions[:1])
    assert ("SN", "2", "^40^-^43", "%^Percent^UCUM", "D") in spreads(parsed(fewer))


def test_a_site_has_its_own_code_for_it(measured: Notification) -> None:
    assert len(spreads(parsed(measured, codes={"spread": "AI-SPREAD^Score over runs^99RIS"}), "AI-SPREAD")) == 3


def test_a_webhook_has_the_keys_of_the_json_document_where_it_is_to_have_findings(measured: Notification) -> None:
    site = webhook_table(include=["findings"])
    wide = {"runs": 4, "sd": 0.1275, "lowest": 0.61, "highest": 0.996}
    data, failed, plain = (payload(one, site)["data"] for one in (measured, not_known(TIME_LIMIT), sample()))
    assert data["lesions"][0]["spread"] == wide
    assert data["uncertainty"] == {"spread": wide, "reason": None}
    assert failed["uncertainty"] == {"spread": None, "reason": {"code": TIME_LIMIT.code, "text": TIME_LIMIT.text}}
    assert (failed["lesions"][0]["spread"], plain["lesions"][0]["spread"], plain["uncertainty"]) == (None, None, None)
    assert "uncertainty" not in payload(measured, webhook_table())["data"]
