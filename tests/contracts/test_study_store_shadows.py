"""The contract of `StudyStore.shadows`: another version looks at what was answered, and nobody hears of it."""

from dataclasses import replace
from typing import Any

import pytest

from services.backends.store import SqlStudyStore
from services.backends.store.engine import locked, writing
from services.backends.store.erased_rows import delete_rows
from services.backends.store.observations import Span
from services.triage.errors import LeaseLost, Reason
from services.triage.finding import Finding, Flag, Outcome
from services.triage.inference import REFERENCE, Inference, InferenceMode
from services.triage.job import Lease
from services.triage.result import Energy, EnergySource
from services.triage.shadow import MAX_ATTEMPTS, Overlap, ShadowResult, ShadowState, ShadowTask
from services.triage.switch import ModelScope
from tests.support.records import (
    LEASE,
    MODEL,
    STUDY,
    after,
    analyse,
    complete_study,
    lease_next,
    lesion,
    new_study_uid,
)

LUNG, NEWER = MODEL.name, replace(MODEL, version="2.0")
SAID = ShadowResult(
    model=NEWER,
    finding=Finding(outcome=Outcome.EQUIVOCAL, score=0.5, flag=Flag.ROUTINE, calibrated=False, lesions=(lesion(),)),
    timings_s={"segment": 5.0, "find": 0.5},
    energy=Energy(joules=30.0, source=EnergySource.ESTIMATED),
    overlap=Overlap(dice=0.8, both=1, answer_only=2, shadow_only=3),
)


def told(at: float = 1) -> dict[str, Any]:
    return {"standing": MODEL.version, "actor": "Dr Lead", "reason": "to be seen", "now": after(at)}


@pytest.fixture
def shadowed(store: SqlStudyStore) -> SqlStudyStore:
    store.rollouts.shadow(LUNG, "2.0", **told())
    return store


def lease(store: SqlStudyStore, *, worker: str = "worker-1", at: float = 100) -> tuple[Lease, ShadowTask] | None:
    return store.shadows.lease(worker=worker, now=after(at), duration=LEASE)


def taken(store: SqlStudyStore, *, at: float = 100) -> tuple[Lease, ShadowTask]:
    found = lease(store, at=at)
    assert found is not None
    return found


def pairs(store: SqlStudyStore, *, at: float = 1000):
    return store.shadows.pairs(since=after(0), until=after(at), now=after(at))


def test_what_is_answered_while_a_shadow_is_in_force_is_looked_at_again_by_it(shadowed: SqlStudyStore) -> None:
    analyse(shadowed, lesions=(lesion(),))
    _, task = taken(shadowed)
    assert (task.job.model_version, task.job.plan.model_name) == ("2.0", LUNG)
    assert task.job.version.study_instance_uid == STUDY
    assert len(task.job.instances) == 2
    assert (task.answer.model, task.answer.finding.outcome) == (MODEL, Outcome.FOUND)
    assert len(task.answer.sha256s) == 2


def test_nothing_is_owed_without_a_shadow_by_the_shadow_itself_or_of_what_nobody_looked_at(
    store: SqlStudyStore,
) -> None:
    analyse(store, study=new_study_uid())
    store.rollouts.shadow(LUNG, "2.0", **told())
    analyse(store, study=new_study_uid(), model=NEWER)
    why = Reason(code="too_few_slices", text="few")
    analyse(store, study=new_study_uid(), outcome=Outcome.NOT_ANALYSED, score=None, reason=why)
    assert lease(store) is None


def test_a_shadow_that_is_switched_off_does_not_look(shadowed: SqlStudyStore) -> None:
    scope = ModelScope(model_name=LUNG, version="2.0")
    shadowed.switches.switch_off(scope, reason="wrong", actor="Dr Lead", now=after(2))
    analyse(shadowed)
    assert lease(shadowed) is None


def test_a_job_that_is_due_goes_first(shadowed: SqlStudyStore) -> None:
    analyse(shadowed)
    complete_study(shadowed, study=new_study_uid(), at=50)
    assert lease(shadowed) is None
    assert shadowed.shadows.must_yield(now=after(100))
    lease_next(shadowed, at=100)
    assert not shadowed.shadows.must_yield(now=after(100))
    assert lease(shadowed) is not None


def test_two_workers_never_have_the_same_run(shadowed: SqlStudyStore) -> None:
    analyse(shadowed)
    taken(shadowed)
    assert lease(shadowed, worker="worker-2") is None
    assert shadowed.rollouts.in_work(LUNG) == {"2.0"}


def test_what_the_shadow_says_is_kept_beside_the_answer(shadowed: SqlStudyStore) -> None:
    result = analyse(shadowed, lesions=(lesion(),), flag=Flag.URGENT)
    held, task = taken(shadowed)
    shadowed.shadows.keep(held, SAID, now=after(110))
    (pair,) = pairs(shadowed)
    assert (pair.study_instance_uid, pair.result_id, pair.model) == (STUDY, task.answer.result_id, LUNG)
    assert (pair.answer.version, pair.answer.outcome, pair.answer.flag) == ("1.0", Outcome.FOUND, Flag.URGENT)
    assert pair.answer.score == result.finding.score
    assert (pair.shadow.version, pair.shadow.outcome, pair.shadow.score) == ("2.0", Outcome.EQUIVOCAL, 0.5)
    assert (pair.shadow.looked_s, pair.shadow.energy_j) == (5.5, 30.0)
    assert (pair.dice, pair.lesions_both, pair.lesions_answer_only, pair.lesions_shadow_only) == (0.8, 1, 2, 3)
    assert (pair.answer.inference, pair.shadow.inference) == (None, None)
    assert lease(shadowed) is None


def test_how_the_networks_of_both_ran_is_kept(shadowed: SqlStudyStore) -> None:
    fast = Inference(mode=InferenceMode.FAST)
    slower = replace(REFERENCE, why=Reason(code="differs", text="the answers are further apart"))
    analyse(shadowed, inference=fast)
    held, _ = taken(shadowed)
    shadowed.shadows.keep(held, replace(SAID, inference=slower), now=after(110))
    (pair,) = pairs(shadowed)
    assert (pair.answer.inference, pair.shadow.inference) == (fast, slower)
    assert shadowed.shadows.counts() == {(LUNG, ShadowState.KEPT): 1}


def test_nobody_hears_of_a_shadow(shadowed: SqlStudyStore) -> None:
    analyse(shadowed, lesions=(lesion(),))
    everything = Span(since=after(0), until=after(1000))

    def seen() -> list[Any]:
        return [
            shadowed.board.study(STUDY),
            shadowed.board.work_list(),
            shadowed.board.counts(),
            list(shadowed.observations.records(everything)),
            shadowed.observations.models(everything),
            shadowed.observations.energy_j(),
            shadowed.switches.models(),
            shadowed.unpublished(limit=10),
            shadowed.deliveries(["pending", "sent"]),
        ]

    before = seen()
    held, _ = taken(shadowed)
    assert seen() == before
    shadowed.shadows.keep(held, SAID, now=after(110))
    assert seen() == before


def test_a_token_that_was_overtaken_keeps_nothing(shadowed: SqlStudyStore) -> None:
    analyse(shadowed)
    old, _ = taken(shadowed)
    new, task = taken(shadowed, at=200)
    assert (new.token, task.job.attempt) == (old.token + 1, 2)
    for late in (
        lambda: shadowed.shadows.keep(old, SAID, now=after(210)),
        lambda: shadowed.shadows.renew(old, now=after(210), duration=LEASE),
        lambda: shadowed.shadows.give_back(old),
        lambda: shadowed.shadows.fail(old, Reason(code="x", text="x"), now=after(210)),
    ):
        with pytest.raises(LeaseLost):
            late()
    shadowed.shadows.renew(new, now=after(250), duration=LEASE)
    assert lease(shadowed, at=300) is None


def test_a_run_whose_worker_dies_each_time_is_given_up(shadowed: SqlStudyStore) -> None:
    analyse(shadowed)
    for number in range(MAX_ATTEMPTS):
        taken(shadowed, at=100 + 100 * number)
    assert lease(shadowed, at=1000) is None
    assert shadowed.shadows.counts() == {(LUNG, ShadowState.FAILED): 1}
    assert pairs(shadowed) == ()


def test_an_interrupted_run_costs_no_attempt_and_a_failed_one_waits(shadowed: SqlStudyStore) -> None:
    analyse(shadowed)
    held, _ = taken(shadowed)
    shadowed.shadows.give_back(held)
    held, task = taken(shadowed, at=101)
    assert task.job.attempt == 1
    shadowed.shadows.give_back(held, until=after(200))
    assert lease(shadowed, at=150) is None
    _, task = taken(shadowed, at=200)
    assert task.job.attempt == 2


def test_what_waits_for_a_shadow_goes_with_it_and_what_it_said_stays(shadowed: SqlStudyStore) -> None:
    for _ in range(3):
        analyse(shadowed, study=new_study_uid())
    held, _ = taken(shadowed)
    running, _ = taken(shadowed)
    shadowed.shadows.keep(held, SAID, now=after(110))
    shadowed.rollouts.promote(LUNG, "2.0", **told(120))
    assert lease(shadowed) is None
    shadowed.shadows.keep(running, SAID, now=after(130))
    assert len(pairs(shadowed)) == 2


def test_of_a_study_that_was_looked_at_again_the_newest_pair_counts(shadowed: SqlStudyStore) -> None:
    for number in (1, 2):
        analyse(shadowed, at=200 * number, number=number)
        held, _ = taken(shadowed, at=200 * number + 50)
        shadowed.shadows.keep(held, SAID, now=after(200 * number + 60))
    (pair,) = pairs(shadowed)
    assert pair.frozen_at == after(430)


def test_an_erased_study_leaves_no_shadow_and_a_late_one_is_told_so(shadowed: SqlStudyStore) -> None:
    analyse(shadowed)
    held, _ = taken(shadowed)
    erase(shadowed, STUDY)
    assert shadowed.shadows.counts() == {}
    with pytest.raises(LeaseLost):
        shadowed.shadows.keep(held, SAID, now=after(110))


def erase(store: SqlStudyStore, study: str) -> None:
    with writing(store._engine) as connection:
        locked(connection, [study])
        delete_rows(connection, study)
