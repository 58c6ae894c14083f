"""The contract of `StudyStore`: what HL7 ADT says of patients, and what becomes of their images and results."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256

import pytest

from services.backends.store import ShownState, SqlStudyStore, open_store
from services.backends.store.board import StudyDetail
from services.backends.store.engine import writing
from services.backends.store.migrate import downgrade, upgrade
from services.backends.store.tables import instance, study_patient
from services.triage.errors import LeaseLost
from services.triage.identity import two_patients
from services.triage.job import OrderPriority, Plan
from services.triage.patient import AdtOutcome
from services.triage.study import Instance, StudyState, VersionKey
from tests.support.other_process import at_once, record_and_merge
from tests.support.records import (
    LEASE,
    OUT_OF_SCOPE,
    PACS,
    STUDY,
    a_result,
    adt,
    after,
    analyse,
    complete_study,
    image,
    lease_next,
    one_job,
    report,
    sent,
)

OTHER = "1.2.826.0.1.2"


@pytest.fixture
def store(store_url: str) -> Iterator[SqlStudyStore]:
    """One that finds equal pixels under one UID; IDs without an issuer are of NORTH."""
    opened = open_store(store_url, same_pixels=lambda _kept, _arrived: True, default_issuer="NORTH")
    yield opened
    opened.close()


def of(number: int, *, content: str = "", study: str = STUDY, **told: str) -> Instance:
    one = image(number, content=content, study=study)
    return replace(one, study=replace(one.study, **told))


def detail(store: SqlStudyStore, study: str = STUDY) -> StudyDetail:
    found = store.board.study(study)
    assert found is not None
    return found


def version(number: int) -> VersionKey:
    return VersionKey(study_instance_uid=STUDY, number=number)


def complete(store: SqlStudyStore, number: int, *, at: float, plan: Plan | None = None) -> bool:
    seen = len(store.instances(version(number)))
    return store.complete(version(number), plan or one_job(), priority=OrderPriority.ROUTINE, seen=seen, now=after(at))


def test_an_update_has_the_result_written_again_and_no_model_looks(store: SqlStudyStore) -> None:
    earlier = analyse(store)
    done = store.reconcile_patients(adt("P1", patient_name="Roe^Jane", patient_sex="F", at=90), now=after(100))
    assert (done.outcome, done.studies, done.retired) == (AdtOutcome.APPLIED, 1, False)
    found = detail(store)
    assert (found.row.study.patient_name, found.row.study.patient_sex) == ("Roe^Jane", "F")
    assert store.quiet_versions(now=after(115), quiet_period=LEASE) == []
    assert complete(store, 2, at=115)
    _, job = lease_next(store, at=120)
    assert job.reconciles is not None
    assert job.reconciles.sha256s == tuple(sha256(one.content).hexdigest() for one in earlier.objects)
    assert {(one.study.patient_name, one.study.patient_id) for one in job.instances} == {("Roe^Jane", "P1")}
    assert {one.as_received and one.as_received.patient_name for one in job.instances} == {"Doe^Jane"}


def test_the_history_says_which_message_and_no_values(store: SqlStudyStore) -> None:
    analyse(store)
    store.reconcile_patients(adt("P1", patient_name="Roe^Jane", control_id="4711", sender="HOSP/HIS"), now=after(100))
    (line,) = [one for one in detail(store).events if one.what == "patient_data"]
    assert (line.actor, line.cause) == ("HOSP/HIS", "ADT^A08, message 4711")
    assert "Roe" not in repr(detail(store).events)


@pytest.mark.parametrize(
    "message",
    [
        adt("P1", patient_name="Doe^Jane"),
        adt("P1@SOUTH", patient_name="Roe^Jane"),
        adt("P2", patient_name="Roe^Jane"),
        adt(merges=[("P1@SOUTH", "P9")]),
    ],
    ids=["the same", "another issuer", "another patient", "another issuer merged"],
)
def test_what_makes_nobody_another_patient_opens_nothing(store: SqlStudyStore, message) -> None:
    analyse(store)
    assert store.reconcile_patients(message, now=after(100)).studies == 0
    found = detail(store)
    assert (len(found.versions), found.row.study.patient_name) == (1, "Doe^Jane")


def test_a_repetition_and_an_older_message_change_nothing(store: SqlStudyStore) -> None:
    analyse(store)
    first, second = adt("P1", patient_name="Roe^A", at=80), adt("P1", patient_name="Roe^B", at=90)
    assert [store.reconcile_patients(one, now=after(100)).outcome for one in (first, second, first, second)] == [
        AdtOutcome.APPLIED,
        AdtOutcome.APPLIED,
        AdtOutcome.UNCHANGED,
        AdtOutcome.UNCHANGED,
    ]
    assert detail(store).row.study.patient_name == "Roe^B"


@pytest.mark.parametrize(
    "messages",
    [
        [adt(merges=[("P1", "B")], at=1), adt(merges=[("B", "C")], at=2)],
        [adt(merges=[("B", "C")], at=2), adt(merges=[("P1", "B")], at=1)],
        [adt(merges=[("P1", "B")], at=1), adt(merges=[("B", "C")], at=2), adt(merges=[("P1", "B")], at=1)],
    ],
    ids=["in order", "the later first", "the first again"],
)
def test_merges_lead_to_the_last_whenever_the_images_come(store: SqlStudyStore, messages: list) -> None:
    analyse(store)
    for message in messages:
        store.reconcile_patients(message, now=after(100))
    store.record(sent(of(1, study=OTHER), of(2, study=OTHER, patient_id="B")), now=after(200))
    for study in (STUDY, OTHER):
        assert [one.patient_id for one in detail(store, study).patients] == ["C"]
        assert detail(store, study).row.study.patient_id == "C"


def test_images_with_old_data_do_not_undo_what_the_registry_says(store: SqlStudyStore) -> None:
    analyse(store)
    store.reconcile_patients(adt("B", merges=[("P1", "B")], patient_name="Roe^Jane"), now=after(100))
    assert complete(store, 2, at=115)
    lease, _ = lease_next(store, at=120)
    result, sha256s = a_result()
    store.freeze(lease, result, sha256s=sha256s, destinations=[PACS], now=after(121))
    store.record(sent(of(1, content="sent again"), of(2, content="sent again", patient_name="Doe^J")), now=after(200))
    assert len(detail(store).versions) == 2
    store.record(sent(of(3)), now=after(201))
    assert {one.study.patient_name for one in store.instances(version(3))} == {"Roe^Jane"}


def test_two_ids_that_were_merged_are_one_patient_and_the_study_can_be_analysed(store: SqlStudyStore) -> None:
    store.record(sent(of(1), of(2, patient_id="P2")), now=after(0))
    assert two_patients(store.instances(version(1))) is not None
    assert complete(store, 1, at=15)
    store.reconcile_patients(adt("P2", merges=[("P1", "P2")], patient_name="Roe^Jane"), now=after(100))
    assert two_patients(store.instances(version(2))) is None
    assert complete(store, 2, at=115)
    assert lease_next(store, at=120)[1].reconciles is None


def test_a_plan_that_was_made_for_the_earlier_patient_is_not_taken(store: SqlStudyStore) -> None:
    store.record(sent(of(1), of(2, patient_id="P2")), now=after(0))
    store.reconcile_patients(adt(merges=[("P1", "P2")]), now=after(16))
    assert not complete(store, 1, at=15)
    assert complete(store, 1, at=31)


def test_a_job_in_hand_is_cancelled(store: SqlStudyStore) -> None:
    complete_study(store)
    lease, _ = lease_next(store)
    store.reconcile_patients(adt("P1", patient_name="Roe^Jane"), now=after(25))
    result, sha256s = a_result()
    with pytest.raises(LeaseLost):
        store.freeze(lease, result, sha256s=sha256s, destinations=[PACS], now=after(30))
    assert complete(store, 2, at=45)
    assert lease_next(store, at=50)[1].reconciles is None


def test_a_study_that_no_rule_claims_is_named_otherwise_and_not_looked_at_again(store: SqlStudyStore) -> None:
    complete_study(store, plan=OUT_OF_SCOPE)
    assert store.reconcile_patients(adt("P1", patient_name="Roe^Jane"), now=after(100)).studies == 1
    found = detail(store)
    assert (found.row.study.patient_name, found.row.state) == ("Roe^Jane", ShownState.OUT_OF_SCOPE)
    assert [one.state for one in found.versions] == [StudyState.COMPLETE]


def test_what_is_no_image_makes_no_version(store: SqlStudyStore) -> None:
    analyse(store)
    one = report(1)
    store.record(sent(replace(one, study=replace(one.study, patient_id="P2"))), now=after(50))
    assert store.reconcile_patients(adt("P2", patient_name="Roe^Jane"), now=after(100)).studies == 0
    assert len(detail(store).versions) == 1


def test_a_study_without_images_is_named_otherwise(store: SqlStudyStore) -> None:
    store.record(sent(report(1)), now=after(0))
    assert store.reconcile_patients(adt("P1", patient_name="Roe^Jane"), now=after(100)).studies == 1
    found = detail(store)
    assert (found.row.study.patient_name, found.versions) == ("Roe^Jane", ())


def test_all_studies_of_a_patient_and_no_others(store: SqlStudyStore) -> None:
    analyse(store)
    store.record(sent(of(1, study=OTHER, issuer_of_patient_id="NORTH")), now=after(50))
    store.record(sent(of(1, study=f"{OTHER}.9", issuer_of_patient_id="SOUTH")), now=after(50))
    assert store.reconcile_patients(adt("P1@NORTH", patient_name="Roe^Jane"), now=after(100)).studies == 2
    assert detail(store, f"{OTHER}.9").row.study.patient_name == "Doe^Jane"


def test_images_of_a_writer_that_kept_no_attributes_are_found_all_the_same(store: SqlStudyStore) -> None:
    analyse(store)
    with writing(store._engine) as connection:
        connection.execute(instance.update().values(attributes=None))
    store.reconcile_patients(adt(merges=[("P1", "B")]), now=after(100))
    (one, _) = store.instances(version(2))
    assert (one.study.patient_id, one.as_received and one.as_received.patient_id) == ("B", "P1")
    store.reconcile_patients(adt(merges=[("B", "P1")]), now=after(101))
    assert [one.patient_id for one in detail(store).patients] == ["P1"]


def test_images_that_came_before_the_registry_did_are_found(store: SqlStudyStore) -> None:
    store.record(sent(of(1), of(2, patient_id='"山', issuer_of_patient_id="NORTH")), now=after(0))
    downgrade(store._engine, "0005")
    upgrade(store._engine)
    for patient in ("P1", '"山'):
        assert store.reconcile_patients(adt(patient, patient_name=f"Roe^{patient}"), now=after(100)).studies == 1


def test_an_id_that_is_too_long_to_be_one_does_not_hold_up_its_image(store: SqlStudyStore) -> None:
    store.record(sent(of(1, patient_id="x" * 5000)), now=after(0))
    assert len(store.instances(version(1))) == 1
    with writing(store._engine) as connection:
        assert connection.execute(study_patient.select()).all() == []


def test_messages_are_counted_by_event_and_outcome(store: SqlStudyStore) -> None:
    for _ in range(2):
        store.reconcile_patients(adt("P1", patient_name="Roe^Jane"), now=after(0))
        store.count_message("A01", AdtOutcome.UNSUPPORTED)
    assert store.board.counts().adt == {("A08", "applied"): 1, ("A08", "unchanged"): 1, ("A01", "unsupported"): 2}


def test_a_message_of_a_retired_id_is_kept_and_says_so(store: SqlStudyStore) -> None:
    store.reconcile_patients(adt("B", merges=[("P1", "B")], patient_name="Roe^Jane", at=1), now=after(1))
    assert store.reconcile_patients(adt("P1", patient_name="Poe^Jane", at=2), now=after(2)).retired
    store.record(sent(of(1)), now=after(3))
    assert detail(store).row.study.patient_name == "Roe^Jane"


def test_no_image_slips_past_a_merge_that_comes_at_the_same_moment(store: SqlStudyStore, store_url: str) -> None:
    studies = [f"{OTHER}.{number}" for number in range(12)]
    at_once(record_and_merge, [(store_url, studies[0::2], "B"), (store_url, studies[1::2], "C"), (store_url, [], "D")])
    found = {one.patient_id for study in studies for one in detail(store, study).patients}
    assert len(found) == 1
    assert found <= {"B", "C", "D"}
