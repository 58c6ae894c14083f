"""The contract of `StudyStore`: a result that a person took back."""

from dataclasses import replace

import pytest

from services.backends.store import ShownState, SqlStudyStore, open_store
from services.backends.store.board import JobRow, ResultRow
from services.triage.errors import LeaseLost, Reason
from services.triage.finding import Flag, Outcome
from services.triage.job import JobState
from services.triage.result import RECALLED, DeliveryState, Recall, ResultObject
from services.triage.study import VersionKey
from tests.support.records import (
    LEASE,
    PACS,
    STUDY,
    a_result,
    after,
    analyse,
    complete_study,
    image,
    lease_next,
    lesion,
    one_job,
    sent,
)

WHY = "it segments the diaphragm"
NOTE = ResultObject(
    modality="KO",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.88.59",
    sop_instance_uid="2.25.5",
    series_instance_uid="2.25.6",
    content=b"a note",
)


def newest(store: SqlStudyStore, study: str = STUDY) -> JobRow:
    detail = store.board.study(study)
    assert detail is not None
    return detail.versions[0].jobs[0]


def result_of(store: SqlStudyStore, study: str = STUDY) -> ResultRow:
    found = newest(store, study).result
    assert found is not None
    return found


def recall(store: SqlStudyStore, *, at: float = 50, actor: str = "Dr Who", study: str = STUDY) -> Recall | None:
    result_id = result_of(store, study).result_id
    return store.recall(result_id, reason=WHY, actor=actor, now=after(at), note=(NOTE, "cd" * 32))


def deliver(store: SqlStudyStore, *, at: float = 40) -> None:
    due = store.claim_delivery(PACS.name, now=after(at), duration=LEASE)
    assert due is not None
    store.delivered(due.delivery_id, now=after(at))


def test_a_recalled_result_leads_no_study_and_says_nothing_any_more(store: SqlStudyStore) -> None:
    analyse(store, study="1.7")
    analyse(store, at=100, flag=Flag.URGENT, lesions=(lesion(),))
    assert [row.study.study_instance_uid for row in store.board.work_list()] == [STUDY, "1.7"]
    recall(store, at=150)
    _, row = store.board.work_list()
    assert (row.study.study_instance_uid, row.recalled, row.state) == (STUDY, True, ShownState.ANALYSED)
    assert (row.outcome, row.flag, row.score, row.lesion_count) == (None, None, None, 0)
    assert row.reason == RECALLED


def test_the_recall_tells_when_who_and_why_and_so_does_the_history(store: SqlStudyStore) -> None:
    analyse(store)
    expected = Recall(recalled_at=after(50), actor="Dr Who", reason=WHY)
    assert recall(store) == expected
    assert result_of(store).recall == expected
    told = [one for one in newest(store).events if one.what == "recalled"]
    assert [(one.time, one.actor, one.cause) for one in told] == [(after(50), "Dr Who", WHY)]


def test_recalling_again_answers_the_first_recall_and_changes_nothing(store: SqlStudyStore) -> None:
    analyse(store)
    deliver(store)
    first = recall(store)
    before = store.board.study(STUDY)
    assert recall(store, at=60, actor="another") == first
    assert store.board.study(STUDY) == before


def test_an_unknown_result_cannot_be_recalled(store: SqlStudyStore) -> None:
    assert store.recall("0" * 32, reason=WHY, actor="Dr Who", now=after(0)) is None
    assert store.frozen_result("0" * 32) is None


def test_what_has_not_gone_out_never_will_and_needs_no_note(store: SqlStudyStore) -> None:
    analyse(store)
    recall(store)
    (delivery,) = result_of(store).deliveries
    assert (delivery.state, delivery.reason, delivery.note) == (DeliveryState.GIVEN_UP, RECALLED, False)
    assert [one.modality for one in result_of(store).objects] == ["SEG", "SR"]
    assert store.resend([delivery.delivery_id], actor="a person", now=after(60)) == []
    assert store.claim_delivery(PACS.name, now=after(1000), duration=LEASE) is None


@pytest.mark.parametrize("gone", ["sent", "on its way", "tried", "given up"])
def test_a_destination_that_may_have_it_gets_the_note_alone(store: SqlStudyStore, gone: str) -> None:
    analyse(store)
    due = store.claim_delivery(PACS.name, now=after(40), duration=LEASE)
    assert due is not None
    reason = Reason(code="cut", text="cut off")
    if gone == "sent":
        store.delivered(due.delivery_id, now=after(41))
    elif gone != "on its way":
        store.delivery_failed(due, reason, now=after(41), retry_at=after(500) if gone == "tried" else None)
    recall(store)
    note = store.claim_delivery(PACS.name, now=after(1000), duration=LEASE)
    assert note is not None
    assert (note.destination.name, note.destination.address) == (PACS.name, PACS.address)
    assert note.objects == ((NOTE.sop_class_uid, NOTE.sop_instance_uid, "cd" * 32),)
    assert store.claim_delivery(PACS.name, now=after(1000), duration=LEASE) is None
    assert [(one.modality, one.note) for one in result_of(store).objects] == [
        ("SEG", False),
        ("SR", False),
        ("KO", True),
    ]
    frozen = store.frozen_result(result_of(store).result_id)
    assert frozen is not None
    assert len(frozen.sha256s) == 2


@pytest.mark.parametrize("ended", ["delivered", "died"])
def test_the_note_waits_for_the_sender_that_still_has_the_result_in_hand(store: SqlStudyStore, ended: str) -> None:
    analyse(store)
    due = store.claim_delivery(PACS.name, now=after(40), duration=LEASE)
    assert due is not None
    recall(store)
    assert store.claim_delivery(PACS.name, now=after(51), duration=LEASE) is None
    if ended == "delivered":
        store.delivered(due.delivery_id, now=after(52))
    at = after(40) + LEASE if ended == "died" else after(53)
    note = store.claim_delivery(PACS.name, now=at, duration=LEASE)
    assert note is not None
    assert [uid for _, uid, _ in note.objects] == [NOTE.sop_instance_uid]


def test_a_note_waits_for_no_other_result_and_no_other_destination(store: SqlStudyStore) -> None:
    analyse(store)
    deliver(store)
    analyse(store, study="1.7")
    assert store.claim_delivery(PACS.name, now=after(45), duration=LEASE) is not None
    recall(store)
    assert store.claim_delivery(PACS.name, now=after(51), duration=LEASE) is not None


def test_a_note_that_comes_back_from_the_pacs_opens_nothing(store: SqlStudyStore) -> None:
    analyse(store)
    deliver(store)
    recall(store)
    back = image(1, series=97, sop_instance_uid=NOTE.sop_instance_uid, modality="KO", has_pixel_data=False)
    assert store.record(sent(back), now=after(100))[0].version is None


def test_another_models_result_goes_on_to_count(store: SqlStudyStore) -> None:
    both = replace(one_job(), jobs=(*one_job().jobs, *one_job(model="liver").jobs))
    complete_study(store, plan=both)
    for flag in (Flag.URGENT, Flag.ELEVATED):
        lease, job = lease_next(store)
        result, sha256s = a_result(flag=flag)
        result = replace(result, model=replace(result.model, name=job.plan.model_name))
        store.freeze(lease, result, sha256s=sha256s, destinations=[], now=after(30))
    detail = store.board.study(STUDY)
    assert detail is not None
    urgent = next(one.result for one in detail.versions[0].jobs if one.result and one.result.flag is Flag.URGENT)
    store.recall(urgent.result_id, reason=WHY, actor="Dr Who", now=after(50))
    (row,) = store.board.work_list()
    assert (row.recalled, row.flag, row.reason) == (False, Flag.ELEVATED, None)


def test_a_failure_can_be_recalled_and_is_no_longer_the_state(store: SqlStudyStore) -> None:
    analyse(store, outcome=Outcome.FAILED, score=None, reason=Reason(code="broken", text="broken"))
    recall(store)
    (row,) = store.board.work_list()
    assert (row.state, row.reason) == (ShownState.ANALYSED, RECALLED)


def test_a_recalled_result_is_not_written_again_under_another_identity(store_url: str) -> None:
    store = open_store(store_url, same_pixels=lambda _kept, _arrived: True)
    analyse(store)
    named = [replace(image(n, content="r"), study=replace(image(n).study, patient_name="Roe^J")) for n in (1, 2)]
    store.record(sent(*named), now=after(100))
    second = VersionKey(study_instance_uid=STUDY, number=2)
    assert store.complete(second, one_job(), priority=0, seen=2, now=after(115))
    lease, job = lease_next(store, at=120)
    assert job.reconciles is not None
    store.recall(job.reconciles.result_id, reason=WHY, actor="Dr Who", now=after(121))
    result, sha256s = a_result()
    with pytest.raises(LeaseLost):
        store.freeze(lease, result, sha256s=sha256s, destinations=[PACS], now=after(122))
    assert newest(store).state is JobState.CANCELLED
    again = [replace(image(n, content="p"), study=replace(image(n).study, patient_name="Poe^J")) for n in (1, 2)]
    store.record(sent(*again), now=after(200))
    third = VersionKey(study_instance_uid=STUDY, number=3)
    assert store.complete(third, one_job(), priority=0, seen=2, now=after(215))
    assert store.unpublished(limit=10) == []
    (row,) = store.board.work_list()
    assert (row.recalled, row.reason) == (True, RECALLED)
    store.close()
