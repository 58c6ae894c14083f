"""What the store changes it writes into the audit trail in the same transaction: Article 12's record among it."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from services import __version__
from services.backends.store import SqlStudyStore
from services.triage.audit import digest_over
from services.triage.errors import LeaseLost, Reason
from services.triage.finding import Flag, Occasion, Outcome
from services.triage.model import Thresholds
from services.triage.reading import ReadingAction, ReadingStep
from services.triage.result import Destination, ReceiverKind
from services.triage.switch import EVERY, Kept, ModelScope
from services.triage.verdict import Answer, RejectReason, Shown, Verdict
from tests.support.records import (
    LEASE,
    MODEL,
    PACS,
    STUDY,
    a_result,
    adt,
    after,
    analyse,
    complete_study,
    image,
    lease_next,
    lesion,
)

LIMITS = Thresholds(equivocal_low=0.3, detect=0.5, elevated=0.7, urgent=0.9)
FOLDER = Destination(name="folder", kind="folder", address="/results")


def events(store: SqlStudyStore) -> list[dict[str, object]]:
    return [json.loads(one.document) for one in store.audit.records()]


def told(event: dict[str, object]) -> dict[str, dict[str, str]]:
    """Details by kind of object; of instances, by their UID."""
    return {one["object_id"] if one["kind"] == "instance" else one["kind"]: one["details"] for one in event["objects"]}


def the_only(store: SqlStudyStore, type_: str) -> dict[str, object]:
    (found,) = [one for one in events(store) if one["type"] == type_]
    return found


def test_a_frozen_result_tells_its_input_its_model_and_what_came_out(store: SqlStudyStore) -> None:
    complete_study(store)
    lease, job = lease_next(store)
    result, sha256s = a_result(flag=Flag.URGENT, lesions=(lesion(),))
    store.freeze(lease, replace(result, thresholds=LIMITS), sha256s=sha256s, destinations=[PACS], now=after(30))
    event = the_only(store, "analysis")
    details = told(event)
    assert (event["kind"], event["action"], event["actors"][0]["name"]) == ("110103", "C", "worker-1")
    assert details["study"] == {
        "version": "1",
        "series_instance_uid": f"{STUDY}.1",
        "instances": "2",
        "digest": digest_over(one.digest for one in job.instances),
    }
    assert details["model"] == {
        "version": MODEL.version,
        "weights_sha256": MODEL.weights_sha256,
        "equivocal_low": "0.3",
        "detect": "0.5",
        "elevated": "0.7",
        "urgent": "0.9",
    }
    of_result = details["result"]
    assert (of_result["outcome"], of_result["flag"], of_result["score"]) == ("found", "urgent", "0.9")
    assert (of_result["software_version"], of_result["lesions"]) == (__version__, "1")
    for one, sha256 in zip(result.objects, sha256s, strict=True):
        assert details[one.sop_instance_uid] == {"sop_class": one.sop_class_uid, "sha256": sha256}
    assert "patient" in details


def test_what_was_not_committed_is_not_told(store: SqlStudyStore) -> None:
    complete_study(store)
    lease, _ = lease_next(store)
    result, sha256s = a_result()
    with pytest.raises(LeaseLost):
        store.freeze(replace(lease, token=99), result, sha256s=sha256s, destinations=[], now=after(30))
    assert [one["type"] for one in events(store)] == []


def test_a_verdict_tells_its_reader_and_the_result_that_it_answers(store: SqlStudyStore) -> None:
    result = analyse(store, lesions=(lesion(),))
    (result_id,) = [one["objects"][1]["object_id"] for one in events(store) if one["type"] == "analysis"]
    given = Verdict(
        verdict_id="ab" * 16,
        study_instance_uid=STUDY,
        result_id=result_id,
        answer=Answer.REJECT,
        reader="reader.one",
        given_at=after(60),
        shown=Shown(page="study"),
        tracking_uid="2.25.1",
        reason=RejectReason.VESSEL,
        comment="Mrs Doe's old scar",
    )
    assert store.verdicts.give(given)
    assert not store.verdicts.give(given)
    event = the_only(store, "verdict")
    details = told(event)
    assert event["actors"][0]["name"] == "reader.one"
    assert (details["verdict"]["answer"], details["verdict"]["blind"]) == ("reject", "false")
    assert details["result"]["version"] == MODEL.version
    assert {one.sop_instance_uid for one in result.objects} <= details.keys()
    assert "scar" not in json.dumps(event), "a comment may name a patient"


def test_what_goes_out_is_told_with_its_digests_and_what_is_given_up_as_a_failure(store: SqlStudyStore) -> None:
    complete_study(store)
    lease, _ = lease_next(store)
    result, sha256s = a_result()
    store.freeze(lease, result, sha256s=sha256s, destinations=[PACS, FOLDER], now=after(30))
    sent = store.claim_delivery("pacs", now=after(40), duration=LEASE)
    store.delivered(sent.delivery_id, now=after(41))
    store.delivered(sent.delivery_id, now=after(42))
    refused = store.claim_delivery("folder", now=after(43), duration=LEASE)
    why = Reason(code="disk_full", text="no space")
    store.delivery_failed(refused, why, now=after(44), retry_at=after(50))
    refused = store.claim_delivery("folder", now=after(51), duration=LEASE)
    store.delivery_failed(refused, why, now=after(52), retry_at=None)
    store.resend([refused.delivery_id], actor="ops", now=after(60))

    went = the_only(store, "sent")
    assert [one["name"] for one in went["actors"]] == ["deliver", "pacs"]
    assert {uid: told(went)[uid]["sha256"] for uid in (one.sop_instance_uid for one in result.objects)} == {
        one.sop_instance_uid: sha256 for one, sha256 in zip(result.objects, sha256s, strict=True)
    }
    failed = the_only(store, "exported")
    assert (failed["outcome"], failed["reason"], failed["kind"]) == (8, "disk_full", "110106")
    assert the_only(store, "send_again")["actors"][0]["name"] == "ops"


def test_who_is_told_of_a_result_is_in_the_trail(store: SqlStudyStore) -> None:
    told_of = frozenset({Occasion.FOUND})
    receiver = Destination(
        name="ris", kind=ReceiverKind.HL7, address="192.0.2.9:2575", objects=frozenset(), told_of=told_of
    )
    complete_study(store)
    lease, _ = lease_next(store)
    result, sha256s = a_result()
    store.freeze(lease, result, sha256s=sha256s, destinations=[receiver], now=after(30))
    due = store.claim_delivery("ris", now=after(40), duration=LEASE)
    store.delivered(due.delivery_id, now=after(41))
    event = the_only(store, "exported")
    assert (event["actors"][1]["name"], told(event)["address"]) == ("ris", {"kind": "hl7"})


def test_what_people_do_with_models_results_and_studies_is_told(store: SqlStudyStore) -> None:
    analyse(store, lesions=(lesion(),))
    result_id = next(one["objects"][1]["object_id"] for one in events(store) if one["type"] == "analysis")
    store.readings.enter(STUDY, ReadingStep(action=ReadingAction.TAKEN, reader="reader.one", at=after(50)))
    store.recall(result_id, reason="wrong", actor="lead", now=after(51))
    store.recall(result_id, reason="wrong", actor="lead", now=after(52))
    scope = ModelScope(model_name=MODEL.name, version=EVERY, tenant=EVERY)
    store.switches.switch_off(scope, reason="wrong", actor="lead", now=after(53))
    store.switches.switch_on(scope, kept=Kept.RECALL, reason="mended", actor="lead", now=after(54))
    assert store.ask_analysis(STUDY, actor="lead", now=after(55))
    store.reconcile_patients(adt("P1", patient_name="Roe^Jane", at=60), now=after(60))

    assert [(one["type"], one["actors"][0]["name"]) for one in events(store)] == [
        ("analysis", "worker-1"),
        ("reading", "reader.one"),
        ("recall", "lead"),
        ("model_switched_off", "lead"),
        ("model_switched_on", "lead"),
        ("recall_of_period", "lead"),
        ("analysis_asked", "lead"),
        ("patient_data", "HIS"),
    ]
    assert "Roe" not in str(events(store))


def test_a_study_without_a_series_tells_all_that_was_there(store: SqlStudyStore) -> None:
    complete_study(store)
    lease, job = lease_next(store)
    result, sha256s = a_result(outcome=Outcome.NOT_ANALYSED, score=None, reason=Reason(code="too_few", text="few"))
    result = replace(result, series_instance_uid=None)
    store.freeze(lease, result, sha256s=sha256s, destinations=[], now=after(30) + timedelta(hours=1))
    details = told(the_only(store, "analysis"))
    assert details["study"]["digest"] == digest_over(one.digest for one in job.instances)
    assert (details["result"]["reason"], "score" in details["result"]) == ("too_few", False)
    assert image(1).digest in {one.digest for one in job.instances}
