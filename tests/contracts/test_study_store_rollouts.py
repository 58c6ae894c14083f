"""The contract of `StudyStore.rollouts`: which version of a model looks at what."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from services.backends.store import SqlStudyStore
from services.triage.errors import Reason, RolloutRefused
from services.triage.job import Job, Lease
from services.triage.rollout import Canary, Rollout, Step, place_of
from services.triage.switch import ModelScope
from tests.support.records import (
    MODEL,
    PACS,
    STUDY,
    a_result,
    after,
    complete_study,
    lease_next,
    new_study_uid,
)

LUNG = MODEL.name


def told(at: float = 40) -> dict[str, Any]:
    return {"standing": MODEL.version, "actor": "Dr Lead", "reason": "it is better", "now": after(at)}


def leased(store: SqlStudyStore, study: str = STUDY, *, at: float = 20) -> tuple[Lease, Job]:
    complete_study(store, study=study, at=at - 20)
    return lease_next(store, at=at)


def test_without_a_decision_a_job_names_no_version(store: SqlStudyStore) -> None:
    _, job = leased(store)
    assert job.model_version is None
    assert store.rollouts.of(LUNG) == Rollout(model_name=LUNG)


def test_a_job_that_is_queued_when_a_version_is_promoted_gets_it(store: SqlStudyStore) -> None:
    complete_study(store)
    assert store.rollouts.promote(LUNG, "2.0", **told()).active == "2.0"
    _, job = lease_next(store, at=50)
    assert job.model_version == "2.0"
    events = store.board.study(STUDY).versions[0].jobs[0].events
    assert [event.cause for event in events if event.what == "analysing"] == ["attempt 1, version 2.0"]


def test_a_job_in_work_ends_as_it_began_and_its_next_attempt_goes_by_what_is_decided_then(store: SqlStudyStore) -> None:
    lease, _ = leased(store)
    store.rollouts.promote(LUNG, "2.0", **told())
    assert store.rollouts.in_work(LUNG) == {None}
    store.postpone(lease, Reason(code="gone", text="gone"), now=after(60), until=after(60))
    store.reissue(now=after(61))
    _, again = lease_next(store, at=70)
    assert (again.attempt, again.model_version) == (2, "2.0")
    assert store.rollouts.in_work(LUNG) == {"2.0"}


def test_a_model_is_awaited_from_when_a_job_is_queued_until_it_is_answered(store: SqlStudyStore) -> None:
    assert not store.rollouts.is_awaited(LUNG)
    complete_study(store)
    assert store.rollouts.is_awaited(LUNG)
    assert not store.rollouts.is_awaited("another")
    lease, _ = lease_next(store, at=20)
    assert store.rollouts.is_awaited(LUNG)
    result, sha256s = a_result()
    store.freeze(lease, result, sha256s=sha256s, destinations=[PACS], now=after(30))
    assert not store.rollouts.is_awaited(LUNG)


def test_what_was_frozen_is_in_work_no_more(store: SqlStudyStore) -> None:
    lease, _ = leased(store)
    result, sha256s = a_result()
    store.freeze(lease, result, sha256s=sha256s, destinations=[PACS], now=after(30))
    assert store.rollouts.in_work(LUNG) == frozenset()


def test_a_canary_looks_at_the_studies_of_its_share(store: SqlStudyStore) -> None:
    store.rollouts.canary(LUNG, Canary(version="2.0", share=0.5), **told())
    studies = [new_study_uid() for _ in range(8)]
    for study in studies:
        _, job = leased(store, study)
        assert job.model_version == ("2.0" if place_of(LUNG, study) < 0.5 else None)
    assert len({place_of(LUNG, study) < 0.5 for study in studies}) == 2


def test_a_canary_that_is_switched_off_leaves_its_studies_to_the_active_version(store: SqlStudyStore) -> None:
    store.rollouts.canary(LUNG, Canary(version="2.0", share=0.999999), **told())
    store.switches.switch_off(
        ModelScope(model_name=LUNG, version="2.0"), reason="wrong", actor="Dr Lead", now=after(41)
    )
    _, job = leased(store, at=60)
    assert job.model_version is None


def test_rolling_back_brings_back_what_was_there_before(store: SqlStudyStore) -> None:
    store.rollouts.promote(LUNG, "2.0", **told())
    store.rollouts.canary(LUNG, Canary(version="3.0", share=0.1), **told(41))
    assert store.rollouts.roll_back(LUNG, **told(42)) == Rollout(model_name=LUNG, active="2.0")
    assert store.rollouts.roll_back(LUNG, **told(43)) == Rollout(model_name=LUNG)
    with pytest.raises(RolloutRefused, match="nothing_to_roll_back"):
        store.rollouts.roll_back(LUNG, **told(44))
    steps = [each.step for each in store.rollouts.history(LUNG)]
    assert steps == [Step.PROMOTE, Step.CANARY, Step.ROLL_BACK, Step.ROLL_BACK]
    assert [each.rollout for each in store.rollouts.in_force()] == [Rollout(model_name=LUNG)]


def test_what_is_refused_changes_nothing(store: SqlStudyStore) -> None:
    for refused in (
        lambda: store.rollouts.promote(LUNG, MODEL.version, **told()),
        lambda: store.rollouts.canary(LUNG, None, **told()),
        lambda: store.rollouts.shadow(LUNG, None, **told()),
    ):
        with pytest.raises(RolloutRefused):
            refused()
    assert store.rollouts.history(LUNG) == ()


def test_another_model_keeps_its_parts(store: SqlStudyStore) -> None:
    store.rollouts.promote("liver", "7", **told())
    store.rollouts.shadow(LUNG, "2.0", **told())
    assert store.rollouts.of("liver") == Rollout(model_name="liver", active="7")
    assert store.rollouts.of(LUNG) == Rollout(model_name=LUNG, shadow="2.0")


def test_decisions_at_one_moment_come_one_after_the_other(store: SqlStudyStore) -> None:
    def promote(number: int) -> None:
        store.rollouts.promote(LUNG, f"{number}.0", **told())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(promote, range(2, 10)))
    for _ in range(8):
        store.rollouts.roll_back(LUNG, **told(50))
    assert store.rollouts.of(LUNG) == Rollout(model_name=LUNG)


def documents(store: SqlStudyStore) -> list[str]:
    return [one.document for one in store.audit.records()]


def test_a_decision_is_in_the_audit_trail(store: SqlStudyStore) -> None:
    store.rollouts.canary(LUNG, Canary(version="2.0", share=0.25), **told())
    (event,) = [one for one in map(json.loads, documents(store)) if one["type"] == "model_rollout"]
    (model,) = event["objects"]
    assert (model["object_id"], event["actors"][0]["name"]) == (LUNG, "Dr Lead")
    assert model["details"] == {
        "step": "canary",
        "canary": "2.0",
        "canary_share": "0.25",
        "why": "it is better",
    }


def test_a_result_names_the_version_that_looked(store: SqlStudyStore) -> None:
    store.rollouts.promote(LUNG, "2.0", **told(10))
    lease, _ = leased(store)
    result, sha256s = a_result(model=replace(MODEL, version="2.0"))
    store.freeze(lease, result, sha256s=sha256s, destinations=[PACS], now=after(30))
    shown = store.board.study(STUDY).versions[0].jobs[0].result
    assert shown.model.version == "2.0"
