"""Images that go by rule, over every implementation: only what nothing needs, and never what came again."""

from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from services.backends.store import SqlStudyStore, connect
from services.backends.store.tables import delivery
from services.triage.blind import BlindPolicy, BlindRule
from services.triage.commitment import CommitmentRequest
from services.triage.errors import Reason
from services.triage.finding import Outcome
from services.triage.ports import Deleted
from services.triage.reading import ReadingAction, ReadingStep
from services.triage.result import DeliveryState
from services.triage.retention import Hold, Retention, RetentionReport
from services.triage.training import Candidate, Mix
from services.triage.verdict import Answer, Shown, Truth, Verdict
from tests.support.records import (
    LEASE,
    OUT_OF_SCOPE,
    PACS,
    STUDY,
    a_result,
    after,
    analyse,
    complete_study,
    image,
    lease_next,
    report,
    sent,
)

DAY = 86400
RULES = Retention(images=timedelta(days=14))
LATER = after(30 * DAY)


def read(store: SqlStudyStore, study: str = STUDY, at: float = 60) -> None:
    step(store, ReadingAction.READ, at, study)


def step(store: SqlStudyStore, action: ReadingAction, at: float, study: str = STUDY) -> None:
    store.readings.enter(study, ReadingStep(action=action, reader="Dr A", at=after(at)))


def deliver(store: SqlStudyStore, *, ask_commitment: bool = False) -> str:
    due = store.claim_delivery(PACS.name, now=after(40), duration=LEASE)
    assert due is not None
    store.delivered(due.delivery_id, now=after(41), ask_commitment=ask_commitment)
    return due.delivery_id


def done_with(store: SqlStudyStore) -> None:
    """A study that was analysed, delivered and read."""
    analyse(store)
    deliver(store)
    read(store)


def holds(store: SqlStudyStore, now: datetime = LATER) -> frozenset[Hold]:
    (one,), _ = store.retaining.kept(received_before=now, now=now)
    return one.holds


def gone(*, came_again: dict[str, datetime] | None = None, size_bytes: int = 0) -> Deleted:
    return Deleted(size_bytes=size_bytes, came_again=came_again or {})


def digests(store: SqlStudyStore) -> set[str]:
    return set(store.retaining.digests(STUDY))


def test_the_images_of_a_study_that_is_done_with_are_marked_and_then_gone(store: SqlStudyStore) -> None:
    done_with(store)
    images = digests(store)
    assert holds(store) == frozenset()
    assert store.retaining.decide(STUDY, RULES, now=LATER)
    assert digests(store) == set()
    (open_still,) = store.retaining.open()
    assert set(open_still.digests) == images
    assert open_still.not_newer_than == LATER - timedelta(days=14)
    store.retaining.done(STUDY, gone(size_bytes=1000))
    assert store.retaining.open() == []
    row = store.board.study(STUDY)
    assert row is not None
    assert row.row.images_deleted_at == LATER
    assert row.row.outcome is not None
    assert [one.deleted_count for one in row.series] == [2]
    assert [one.what for one in row.events][-1] == "images_deleted"
    assert store.retaining.kept(received_before=LATER, now=LATER) == ([], None)


def test_it_is_in_the_audit_trail_by_the_study_alone(store: SqlStudyStore) -> None:
    done_with(store)
    store.retaining.decide(STUDY, RULES, now=LATER)
    (record,) = [one for one in store.audit.records() if '"type":"images_deleted"' in one.document]
    assert '"kind":"110105"' in record.document
    assert STUDY in record.document
    assert "Doe" not in record.document


@pytest.mark.parametrize("days", [1, 13.9])
def test_a_study_with_which_somebody_did_something_lately_is_too_young(store: SqlStudyStore, days: float) -> None:
    done_with(store)
    late = after(60 + days * DAY)
    assert not store.retaining.decide(STUDY, RULES, now=late)
    assert store.retaining.decide(STUDY, RULES, now=after(61 + 14 * DAY))


def test_the_age_counts_from_the_last_read(store: SqlStudyStore) -> None:
    done_with(store)
    step(store, ReadingAction.REOPENED, 20 * DAY)
    read(store, at=20 * DAY + 5)
    assert not store.retaining.decide(STUDY, RULES, now=LATER)


def test_what_arrives_is_in_work_or_unread_stays(store: SqlStudyStore) -> None:
    store.record(sent(image(1)), now=after(0))
    assert holds(store) == {Hold.RECEIVING, Hold.UNREAD}
    complete_study(store, images=1)
    assert holds(store) == {Hold.IN_WORK, Hold.UNREAD}
    lease, _ = lease_next(store)
    assert holds(store) == {Hold.IN_WORK, Hold.UNREAD}
    result, sha256s = a_result()
    store.freeze(lease, result, sha256s=sha256s, destinations=[PACS], now=after(30))
    assert holds(store) == {Hold.UNDELIVERED, Hold.UNREAD}
    deliver(store)
    assert holds(store) == {Hold.UNREAD}
    assert not store.retaining.decide(STUDY, RULES, now=LATER)
    anyway = Retention(images=timedelta(days=14), unread=timedelta(days=25))
    assert store.retaining.decide(STUDY, anyway, now=LATER)


def test_what_no_rule_claims_waits_for_no_reader(store: SqlStudyStore) -> None:
    complete_study(store, plan=OUT_OF_SCOPE)
    assert holds(store) == frozenset()


def test_what_the_archive_has_not_committed_stays(store: SqlStudyStore) -> None:
    analyse(store)
    deliver(store, ask_commitment=True)
    read(store)
    assert holds(store) == {Hold.UNCOMMITTED}
    due = store.claim_commitment(PACS.name, now=after(50), duration=LEASE)
    assert due is not None
    reason = Reason(code="commitment_unsupported", text="the PACS does not have it")
    store.not_committed(due.delivery, reason, state=DeliveryState.SENT, now=after(51), next_at=None)
    assert holds(store) == frozenset()


def test_what_we_were_asked_to_commit_stays_until_the_archive_has_said(store: SqlStudyStore) -> None:
    done_with(store)
    asked = tuple((image(n).header.sop_class_uid, image(n).header.sop_instance_uid) for n in (1, 2))
    request = CommitmentRequest(transaction_uid="2.25.7", calling_ae_title="CT1", objects=asked)
    store.requests.enter(request, now=after(70))
    assert holds(store) == {Hold.PROMISED}
    due = store.requests.claim("CT1", now=after(71), duration=LEASE)
    assert due is not None
    store.requests.decide(due, dict.fromkeys(asked, 0x0110), now=after(72))
    assert holds(store) == frozenset()


def test_what_a_reader_answered_is_a_document_first(store: SqlStudyStore) -> None:
    done_with(store)
    given = Verdict(
        verdict_id="0" * 32,
        study_instance_uid=STUDY,
        result_id=None,
        answer=Answer.UNSURE,
        reader="Dr A",
        given_at=after(70),
        shown=Shown(page="study"),
    )
    store.verdicts.give(given)
    assert holds(store) == {Hold.UNDOCUMENTED}


def test_what_is_withheld_and_what_learners_are_shown_stays(store: SqlStudyStore) -> None:
    complete_study(store)
    lease, _ = lease_next(store)
    result, sha256s = a_result()
    blind = BlindPolicy(rules=(BlindRule(share=1.0, max_hold=timedelta(days=60)),), key="k" * 16)
    store.freeze(lease, result, sha256s=sha256s, destinations=[], now=after(30), blind=blind)
    read(store)
    assert holds(store) == {Hold.WITHHELD}
    assert holds(store, after(61 * DAY)) == frozenset()
    (row,) = store.board.study(STUDY).versions[0].jobs  # type: ignore[union-attr]
    result_id = row.withheld.result_id if row.withheld else row.result.result_id  # type: ignore[union-attr]
    began = after(61 * DAY)
    _train(store, result_id, now=began)
    assert holds(store, began) == {Hold.TRAINING}
    assert holds(store, began + timedelta(days=29)) == {Hold.TRAINING}
    assert holds(store, began + timedelta(days=30)) == frozenset()
    (case,) = store.training.rounds("L")[0].cases
    store.training.answer(case, Answer.UNSURE, None, now=began)
    assert holds(store, began) == frozenset()


def _train(store: SqlStudyStore, result_id: str, *, now: datetime) -> None:
    case = Candidate(
        study_instance_uid=STUDY,
        result_id=result_id,
        series_instance_uid=f"{STUDY}.1",
        model_name="lung",
        outcome=Outcome.FOUND,
        truth=next(iter(Truth)),
        readers=1,
    )
    store.training.begin([case], learner="L", model_name="lung", mix=next(iter(Mix)), key=b"k" * 32, now=now)


def test_an_image_that_comes_while_it_is_to_go_is_kept_and_one_that_comes_after_too(store: SqlStudyStore) -> None:
    done_with(store)
    first, second = (image(n).digest for n in (1, 2))
    store.retaining.decide(STUDY, RULES, now=LATER)
    store.retaining.done(STUDY, gone(came_again={first: LATER}))
    assert digests(store) == {first}
    row = store.board.study(STUDY)
    assert row is not None
    assert row.row.images_deleted_at is None
    assert [one.deleted_count for one in row.series] == [1]
    store.record(sent(image(2)), now=after(31 * DAY))
    assert digests(store) == {first, second}
    (one,), _ = store.retaining.kept(received_before=LATER, now=LATER)
    assert one.since == after(31 * DAY)
    # the same bytes again open no version
    assert [version.number for version in store.board.study(STUDY).versions] == [1]  # type: ignore[union-attr]


def test_a_resend_between_the_decision_and_the_deletion_is_seen(store: SqlStudyStore) -> None:
    done_with(store)
    store.retaining.decide(STUDY, RULES, now=LATER)
    store.record(sent(image(1)), now=LATER)
    (open_still,) = store.retaining.open()
    assert open_still.digests == (image(2).digest,)


def test_what_was_saved_about_the_images_stays_with_the_results(store: SqlStudyStore) -> None:
    done_with(store)
    store.record(sent(report(1)), now=after(65))
    store.retaining.decide(STUDY, RULES, now=LATER)
    assert digests(store) == {report(1).digest}
    store.record(sent(report(2)), now=LATER)
    assert store.board.study(STUDY).row.images_deleted_at == LATER  # type: ignore[union-attr]


def test_no_model_looks_again_at_images_that_are_gone(store: SqlStudyStore) -> None:
    done_with(store)
    store.retaining.decide(STUDY, RULES, now=LATER)
    assert not store.ask_analysis(STUDY, actor="Dr A", now=LATER)


def test_dicomweb_tells_what_was_there_and_is_gone(store: SqlStudyStore) -> None:
    done_with(store)
    assert not store.archive.gone(STUDY)
    store.retaining.decide(STUDY, RULES, now=LATER)
    assert {one.is_result for one in store.archive.instances(STUDY)} == {True}
    assert store.archive.gone(STUDY, f"{STUDY}.1", f"{STUDY}.1.2")
    assert not store.archive.gone(STUDY, f"{STUDY}.1", f"{STUDY}.1.3")
    assert not store.archive.gone("1.2.3")


def test_one_process_at_a_time_and_its_claim_runs_out(store: SqlStudyStore) -> None:
    retaining = store.retaining
    mine = retaining.claim(now=after(0), duration=LEASE)
    assert mine is not None
    assert retaining.claim(now=after(30), duration=LEASE) is None
    assert retaining.renew(mine, now=after(30), duration=LEASE)
    assert retaining.claim(now=after(70), duration=LEASE) is None
    other = retaining.claim(now=after(91), duration=LEASE)
    assert other is not None
    assert not retaining.renew(mine, now=after(91), duration=LEASE), "who was away for too long is told so"
    retaining.release(mine, next_at=after(5000))
    assert retaining.claim(now=after(92), duration=LEASE) is None
    found = RetentionReport(
        finished_at=after(95),
        studies=3,
        images=30,
        image_bytes=10**12,
        oldest_at=after(1),
        held={Hold.UNREAD: 2},
        free_bytes=1,
        disk_bytes=2,
        pressed=True,
    )
    retaining.release(other, report=found, next_at=after(4000))
    assert retaining.report()[0] == found
    assert retaining.claim(now=after(3999), duration=LEASE, due=True) is None
    assert retaining.claim(now=after(4000), duration=LEASE, due=True) is not None


def test_studies_are_told_of_in_pages_oldest_first(store: SqlStudyStore) -> None:
    for number in range(5):
        complete_study(store, study=f"{STUDY}.{number}", at=number)
    seen, place = [], None
    while True:
        page, place = store.retaining.kept(received_before=LATER, after=place, limit=2, now=LATER)
        seen += [one.study_instance_uid for one in page]
        if place is None:
            break
    assert seen == [f"{STUDY}.{number}" for number in range(5)]


def test_a_record_goes_only_after_its_images_and_when_nobody_came_back_to_it(store: SqlStudyStore) -> None:
    done_with(store)
    year = after(365 * DAY)
    assert store.retaining.recorded(since_before=year, limit=10, now=year) == []
    store.retaining.decide(STUDY, RULES, now=LATER)
    assert store.retaining.recorded(since_before=after(50), limit=10, now=year) == []
    assert store.retaining.recorded(since_before=year, limit=10, now=year) == [STUDY]


def expired(store: SqlStudyStore, *, since: datetime, now: datetime) -> bool:
    gone = store.erasing.expire(STUDY, untouched_since=since, reason="nothing was done with it for 365 days", now=now)
    return gone is not None


@pytest.mark.parametrize("back", ["image again", "document", "read", "request"])
def test_a_record_stays_when_something_was_done_since_it_was_listed(store: SqlStudyStore, back: str) -> None:
    done_with(store)
    year = after(365 * DAY)
    assert not expired(store, since=year, now=year)  # its images are here
    store.retaining.decide(STUDY, RULES, now=LATER)
    assert not expired(store, since=year, now=year)  # its images are being deleted
    store.retaining.done(STUDY, gone())
    assert store.retaining.recorded(since_before=LATER, limit=10, now=year) == [STUDY]
    match back:
        case "image again":
            store.record(sent(image(1)), now=year)
        case "document":
            store.record(sent(image(9, modality="SR")), now=year)
        case "read":
            step(store, ReadingAction.REOPENED, 364 * DAY)
            read(store, at=364 * DAY + 5)
        case "request":
            store.erasing.begin([STUDY], actor="Dr A", reason="request 17", now=year)
            store.retaining.decide_anew()
    assert not expired(store, since=LATER, now=year)
    assert store.board.study(STUDY) is not None
    assert [one.study_instance_uid for one in store.retaining.open(whole=True)] == [STUDY] * (back == "request")


def test_a_record_that_nobody_came_back_to_goes(store: SqlStudyStore) -> None:
    done_with(store)
    store.retaining.decide(STUDY, RULES, now=LATER)
    store.retaining.done(STUDY, gone())
    assert expired(store, since=LATER, now=after(365 * DAY))
    assert store.board.study(STUDY) is None
    assert not expired(store, since=LATER, now=after(365 * DAY))
    (record,) = [one for one in store.audit.records() if '"type":"record_deleted"' in one.document]
    assert "nothing was done with it for 365 days" in record.document


def test_a_pending_delivery_that_was_given_up_holds_no_images(store: SqlStudyStore, store_url: str) -> None:
    analyse(store)
    read(store)
    engine = connect(store_url)
    with engine.begin() as connection:
        connection.execute(sa.update(delivery).values(state=DeliveryState.GIVEN_UP))
    engine.dispose()
    assert holds(store) == frozenset()
