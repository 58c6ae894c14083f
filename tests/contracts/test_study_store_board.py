"""What the desk reads of a store: the work list, one study, counts."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from services.backends.store import ShownState, SqlStudyStore
from services.backends.store.engine import connect
from services.backends.store.tables import delivery
from services.triage.errors import Reason
from services.triage.finding import Flag, Outcome
from services.triage.inference import REFERENCE, Inference, InferenceMode
from services.triage.job import JobState, OrderPriority
from services.triage.organ import Organ
from services.triage.result import DeliveryState
from services.triage.uncertainty import TIME_LIMIT, Spread, Uncertainty
from tests.support.records import (
    LEASE,
    MODEL,
    NOON,
    OUT_OF_SCOPE,
    PACS,
    STUDY,
    a_result,
    after,
    analyse,
    complete_study,
    image,
    lease_next,
    lesion,
    report,
    sent,
)

BROKEN = Reason(code="out_of_memory", text="the model ran out of memory")


def shown(store: SqlStudyStore) -> ShownState:
    (row,) = store.board.work_list()
    return row.state


def order(store: SqlStudyStore) -> list[str]:
    return [row.study.study_instance_uid for row in store.board.work_list()]


def test_the_state_of_a_study_is_shown_along_its_way(store: SqlStudyStore) -> None:
    store.record(sent(image(1), image(2)), now=NOON)
    states = [shown(store)]
    complete_study(store)
    states.append(shown(store))
    lease, _ = lease_next(store)
    states.append(shown(store))
    result, sha256s = a_result()
    store.freeze(lease, result, sha256s=sha256s, destinations=[], now=after(30))
    states.append(shown(store))
    assert states == [ShownState.RECEIVING, ShownState.QUEUED, ShownState.ANALYSING, ShownState.ANALYSED]


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.NOT_ANALYSED])
def test_what_was_not_looked_at_is_said_with_its_reason(store: SqlStudyStore, outcome: Outcome) -> None:
    analyse(store, outcome=outcome, score=None, reason=BROKEN)
    (row,) = store.board.work_list()
    assert (row.state.value, row.outcome, row.reason, row.score) == (outcome.value, outcome, BROKEN, None)


def test_a_row_carries_the_leading_finding(store: SqlStudyStore) -> None:
    lesions = (lesion(1, long_axis_mm=12.0), lesion(2, score=0.6, long_axis_mm=31.0))
    analyse(store, flag=Flag.URGENT, score=0.97, lesions=lesions)
    (row,) = store.board.work_list()
    assert (row.outcome, row.flag, row.score, row.calibrated) == (Outcome.FOUND, Flag.URGENT, 0.97, False)
    assert (row.lesion_count, row.largest_long_axis_mm, row.model) == (2, 31.0, MODEL)
    assert (row.modalities, row.series_count, row.instance_count) == (("CT",), 1, 2)
    assert (row.received_at, row.completed_at, row.frozen_at) == (NOON, after(15), after(30))
    assert row.study == image(1).study


def test_the_work_list_is_ordered_by_order_priority_then_flag_then_arrival(store: SqlStudyStore) -> None:
    analyse(store, study="1.1", at=0, flag=Flag.ROUTINE)
    analyse(store, study="1.2", at=10, flag=Flag.ELEVATED)
    analyse(store, study="1.3", at=20, flag=Flag.URGENT)
    analyse(store, study="1.4", at=30, outcome=Outcome.FAILED, score=None, reason=BROKEN)
    store.record(sent(image(1, study="1.5")), now=after(5))
    complete_study(store, study="1.6", at=100, priority=OrderPriority.STAT)
    assert order(store) == ["1.6", "1.3", "1.2", "1.1", "1.5", "1.4"]


def test_an_urgent_finding_stays_on_top_while_its_next_version_is_on_its_way(store: SqlStudyStore) -> None:
    analyse(store, study="1.1", at=0)
    analyse(store, study="1.2", at=10, flag=Flag.URGENT)
    store.record(sent(image(50, study="1.2")), now=after(100))
    first = store.board.work_list()[0]
    assert first.study.study_instance_uid == "1.2"
    assert (first.state, first.version, first.result_version, first.flag) == (
        ShownState.RECEIVING,
        2,
        1,
        Flag.URGENT,
    )


def test_the_result_of_the_next_version_replaces_the_one_before(store: SqlStudyStore) -> None:
    analyse(store, flag=Flag.URGENT, score=0.97)
    analyse(store, number=2, at=100, flag=Flag.ROUTINE, score=0.1, outcome=Outcome.NOTHING_FOUND)
    (row,) = store.board.work_list()
    assert (row.result_version, row.flag, row.score) == (2, Flag.ROUTINE, 0.1)


def test_the_work_list_leaves_out_of_scope_out_unless_asked(store: SqlStudyStore) -> None:
    complete_study(store, study="1.1", plan=OUT_OF_SCOPE)
    analyse(store, study="1.2")
    assert order(store) == ["1.2"]
    asked = store.board.work_list(states={ShownState.OUT_OF_SCOPE})
    assert [row.study.study_instance_uid for row in asked] == ["1.1"]


def test_the_work_list_is_filtered_searched_and_paged(store: SqlStudyStore) -> None:
    for number in range(1, 6):
        store.record(sent(image(1, study=f"1.{number}")), now=after(number))
    first = store.board.page(limit=2)
    second = store.board.page(at=first.after, limit=2)
    assert [row.study.study_instance_uid for row in second.rows] == ["1.3", "1.4"]
    assert store.board.page(at=second.before, limit=2).rows == first.rows
    assert len(store.board.work_list(search="doe^jane")) == 5
    assert [row.study.study_instance_uid for row in store.board.work_list(search="1.5")] == ["1.5"]
    assert store.board.work_list(search="%") == store.board.work_list(search="_") == []
    assert store.board.work_list(states=["analysed"]) == []


def test_one_study_is_told_with_all_that_belongs_to_it(store: SqlStudyStore) -> None:
    result = analyse(store, lesions=(lesion(),), flag=Flag.ELEVATED)
    store.record(sent(report(1)), now=after(100))
    detail = store.board.study(STUDY)
    assert detail is not None
    assert [(one.modality, one.instance_count) for one in detail.series] == [("CT", 2), ("SR", 1)]
    assert [event.what for event in detail.events] == ["receiving", "complete"]
    (version,) = detail.versions
    (job,) = version.jobs
    assert (job.state, job.attempt, job.model_name) == (JobState.FROZEN, 1, "lung")
    assert job.result is not None
    assert job.result.lesions == (lesion(),)
    assert job.result.timings_s == result.timings_s
    assert [one.sop_instance_uid for one in job.result.objects] == [one.sop_instance_uid for one in result.objects]
    assert [one.size_bytes for one in job.result.objects] == [len(one.content) for one in result.objects]
    assert [(one.destination, one.state) for one in job.result.deliveries] == [(PACS.name, DeliveryState.PENDING)]


@pytest.mark.parametrize(
    "uncertainty", [Uncertainty(spread=Spread(runs=4, sd=0.1, lowest=0.6, highest=0.9)), Uncertainty(reason=TIME_LIMIT)]
)
def test_how_a_score_varies_is_kept_with_the_result_and_its_lesions(
    store: SqlStudyStore, uncertainty: Uncertainty
) -> None:
    lesions = (replace(lesion(), spread=uncertainty.spread),)
    analyse(store, lesions=lesions, uncertainty=uncertainty)
    detail = store.board.study(STUDY)
    assert detail is not None
    (result,) = detail.results
    assert (result.uncertainty, result.lesions) == (uncertainty, lesions)
    assert store.frozen_result(result.result_id).finding.uncertainty == uncertainty
    analyse(store, at=100, number=2)
    detail = store.board.study(STUDY)
    assert detail is not None
    assert [one.uncertainty for one in detail.results if one.superseded_by is None] == [None]


@pytest.mark.parametrize(
    "inference", [REFERENCE, Inference(mode=InferenceMode.FAST), replace(REFERENCE, why=BROKEN), None]
)
def test_how_the_network_ran_is_kept_with_the_result(store: SqlStudyStore, inference: Inference | None) -> None:
    analyse(store, inference=inference)
    detail = store.board.study(STUDY)
    assert detail is not None
    (result,) = detail.results
    assert result.inference == inference
    assert store.frozen_result(result.result_id).inference == inference


def test_the_cautions_of_a_result_are_kept_in_their_order(store: SqlStudyStore) -> None:
    cautions = (
        Reason(code="unexpected_extent_mm", text="length covered 90 mm, expected at least 140"),
        Reason(code="unexpected_lung_ml", text="aerated lung 700 mL, expected at least 800"),
    )
    analyse(store, cautions=cautions)
    detail = store.board.study(STUDY)
    assert detail is not None
    (result,) = detail.results
    assert result.cautions == cautions
    analyse(store, at=100, number=2)
    detail = store.board.study(STUDY)
    assert detail is not None
    assert [one.cautions for one in detail.results if one.superseded_by is None] == [()]


def test_the_organs_of_a_result_are_kept_and_one_not_found_is_not_one_of_0_ml(store: SqlStudyStore) -> None:
    organs = (
        Organ(label="liver", volume_ml=1409.87, cut_off=True),
        Organ(label="spleen", volume_ml=None, cut_off=False),
    )
    analyse(store, organs=organs)
    detail = store.board.study(STUDY)
    assert detail is not None
    (result,) = detail.results
    assert result.organs == organs
    assert store.frozen_result(result.result_id).finding.organs == organs
    analyse(store, at=100, number=2)
    detail = store.board.study(STUDY)
    assert detail is not None
    assert [one.organs for one in detail.results if one.superseded_by is None] == [()]


def test_an_unknown_study_or_object_is_none(store: SqlStudyStore) -> None:
    assert store.board.study("1.2.3.404") is None
    assert store.board.result_object("1.2.3.404") is None


def test_counts_for_metrics(store: SqlStudyStore) -> None:
    analyse(store, study="1.1", flag=Flag.URGENT)
    analyse(store, study="1.2", outcome=Outcome.NOTHING_FOUND)
    complete_study(store, study="1.3", at=7)
    complete_study(store, study="1.4", plan=OUT_OF_SCOPE)
    counts = store.board.counts()
    assert counts.studies == {"analysed": 2, "queued": 1, "out_of_scope": 1}
    assert counts.jobs == {"frozen": 2, "queued": 1}
    assert counts.deliveries == {(PACS.name, "pending"): 2}
    assert counts.outcomes == {("lung", "found", "urgent"): 1, ("lung", "nothing_found", "routine"): 1}
    assert counts.oldest_queued_at == after(22)


def test_what_was_withdrawn_is_not_counted_as_given_up_and_what_was_refused_is(
    store: SqlStudyStore, store_url: str
) -> None:
    for at, study in enumerate(("1.1", "1.2", "1.3")):
        analyse(store, study=study, at=at)
    for at in (50, 51):
        refused = store.claim_delivery(PACS.name, now=after(at), duration=LEASE)
        assert refused is not None
        store.delivery_failed(refused, BROKEN, now=after(at), retry_at=None)
    engine = connect(store_url)
    with engine.begin() as connection:  # one of them without a reason
        one = delivery.c.delivery_id == refused.delivery_id
        connection.execute(sa.update(delivery).where(one).values(reason_code=None, reason_text=None))
    engine.dispose()
    detail = store.board.study("1.3")
    assert detail is not None
    assert store.recall(detail.results[0].result_id, reason="wrong side", actor="Dr Who", now=after(60))
    assert store.board.counts().deliveries == {(PACS.name, "given_up"): 2, (PACS.name, "withdrawn"): 1}
