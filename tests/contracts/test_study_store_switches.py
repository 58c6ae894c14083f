"""The contract of `StudyStore.switches` and `.campaigns`: models switched off and on, and recalls of periods."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.backends.store import ShownState, SqlStudyStore
from services.backends.store.archive import StudyFilter
from services.backends.store.board import AiSays
from services.triage.errors import Reason
from services.triage.finding import Flag, Outcome
from services.triage.organ import NO_TUMOUR_CLASS
from services.triage.result import DeliveryState, Destination
from services.triage.study import VersionKey
from services.triage.switch import EVERY, MODEL_SWITCHED_OFF, Kept, ModelScope, Period
from services.triage.tenant import Tenant
from tests.support.records import (
    LEASE,
    MODEL,
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

WHY = "it marks the diaphragm"
LUNG = ModelScope(model_name=MODEL.name)
RIS = Destination(name="ris", kind="hl7", address="ris:2575", told_of=frozenset())


def off(store: SqlStudyStore, scope: ModelScope = LUNG, *, at: float = 40) -> bool:
    return store.switches.switch_off(scope, reason=WHY, actor="Dr Lead", now=after(at))


def on(store: SqlStudyStore, scope: ModelScope = LUNG, *, kept: Kept = Kept.SEND, at: float = 500):
    return store.switches.switch_on(scope, kept=kept, reason="mended", actor="Dr Lead", now=after(at))


def urgent(store: SqlStudyStore, study: str = STUDY, *, at: float = 0) -> None:
    analyse(store, study=study, at=at, flag=Flag.URGENT, lesions=(lesion(),))


def order(store: SqlStudyStore) -> list[str]:
    return [row.study.study_instance_uid for row in store.board.work_list()]


def due(store: SqlStudyStore, *, at: float = 1000):
    return store.claim_delivery(PACS.name, now=after(at), duration=LEASE)


def recalled(store: SqlStudyStore, study: str) -> bool:
    detail = store.board.study(study)
    assert detail is not None
    result = detail.versions[0].jobs[0].result
    return result is not None and result.recall is not None


def carry_out(store: SqlStudyStore, *, at: float = 600) -> int:
    """As `gateway.recalling` does it; answers how many."""
    claimed = store.campaigns.claim(now=after(at), duration=LEASE)
    assert claimed is not None
    campaign, claim = claimed
    places = store.campaigns.left(campaign, after=None, limit=1000)
    for _, result_id in places:
        store.recall(result_id, reason=campaign.reason, actor=campaign.actor, now=after(at))
    assert store.campaigns.finish(campaign.campaign_id, claim, now=after(at))
    return len(places)


def test_a_job_leased_from_then_on_is_told_that_its_model_is_off(store: SqlStudyStore) -> None:
    complete_study(store)
    off(store, at=16)
    _, job = lease_next(store)
    assert job.switched_off == {EVERY}
    on(store)
    complete_study(store, study="1.7", at=600)
    assert lease_next(store, at=640)[1].switched_off == frozenset()


def test_what_was_in_work_is_kept_and_not_sent_until_it_is_on_again(store: SqlStudyStore) -> None:
    complete_study(store)
    lease, job = lease_next(store)
    assert job.switched_off == frozenset()
    off(store, at=21)
    result, sha256s = a_result(flag=Flag.URGENT, lesions=(lesion(),))
    store.freeze(lease, result, sha256s=sha256s, destinations=[PACS], now=after(30))
    detail = store.board.study(STUDY)
    assert detail is not None
    (frozen,) = [one.result for one in detail.versions[0].jobs if one.result]
    assert (frozen.kept_back, frozen.deliveries[0].state) == (True, DeliveryState.PENDING)
    assert ("kept_back", "model_switched_off") in [(one.what, one.cause) for one in detail.versions[0].jobs[0].events]
    assert due(store) is None
    assert store.board.counts().kept_back == 1
    assert store.board.counts().oldest_pending_delivery_at is None
    assert store.archive.instances(STUDY, sop_instance_uid=frozen.objects[0].sop_instance_uid) == []
    assert not any(
        study.modalities == ("CT", "SEG", "SR") for study in store.archive.studies(StudyFilter(), limit=9, offset=0)
    )
    assert on(store) is None
    assert due(store) is not None
    assert len(store.archive.instances(STUDY, sop_instance_uid=frozen.objects[0].sop_instance_uid)) == 1


def test_that_nobody_looked_is_sent_all_the_same(store: SqlStudyStore) -> None:
    off(store, at=0)
    told = {"outcome": Outcome.NOT_ANALYSED, "score": None, "reason": MODEL_SWITCHED_OFF}
    analyse(store, **told)
    (row,) = store.board.work_list()
    assert (row.state, row.reason) == (ShownState.NOT_ANALYSED, MODEL_SWITCHED_OFF)
    assert due(store) is not None


def test_a_flag_of_a_model_that_is_off_moves_no_study_up(store: SqlStudyStore) -> None:
    analyse(store, study="1.7")
    urgent(store, at=100)
    assert order(store) == [STUDY, "1.7"]
    off(store, at=200)
    assert order(store) == ["1.7", STUDY]
    row = store.board.work_list()[1]
    assert (row.switched_off, row.flag) == (True, Flag.URGENT)
    urgent(store, "1.8", at=300)
    assert order(store) == ["1.7", STUDY, "1.8"]
    on(store)
    assert order(store) == [STUDY, "1.8", "1.7"]


def test_another_models_flag_goes_on_to_count_and_leads(store: SqlStudyStore) -> None:
    analyse(store, study="1.7", at=-100)
    both = replace(one_job(), jobs=(*one_job().jobs, *one_job(model="liver").jobs))
    complete_study(store, plan=both)
    said = {MODEL.name: (Flag.URGENT, 0.9), "liver": (Flag.ELEVATED, 0.7)}
    for _ in said:
        lease, job = lease_next(store)
        flag, score = said[job.plan.model_name]
        result, sha256s = a_result(flag=flag, score=score)
        result = replace(result, model=replace(result.model, name=job.plan.model_name))
        store.freeze(lease, result, sha256s=sha256s, destinations=[], now=after(30))
    off(store)
    row, _ = store.board.work_list()
    assert (row.model and row.model.name, row.flag, row.switched_off) == ("liver", Flag.ELEVATED, False)
    on(store)
    row, _ = store.board.work_list()
    assert (row.model and row.model.name, row.flag) == (MODEL.name, Flag.URGENT)


def test_what_measured_organs_leads_where_nothing_else_counts_and_the_filter_says_so(store: SqlStudyStore) -> None:
    """The bulk statement tells of the result that it has lead, as `refresh` does."""
    complete_study(store, plan=replace(one_job(), jobs=(*one_job().jobs, *one_job(model="organs").jobs)))
    measured = {"outcome": Outcome.NOT_ANALYSED, "score": None, "reason": NO_TUMOUR_CLASS}
    said = {MODEL.name: {"flag": Flag.URGENT}, "organs": measured}
    for _ in said:
        lease, job = lease_next(store)
        result, sha256s = a_result(**said[job.plan.model_name])
        result = replace(result, model=replace(result.model, name=job.plan.model_name))
        store.freeze(lease, result, sha256s=sha256s, destinations=[], now=after(30))
    for switch, kind in ((off, AiSays.ORGANS), (on, AiSays.URGENT)):
        switch(store)
        assert [row.ai_says for row in store.board.work_list(ai_says=[kind])] == [kind]


def test_places_counted_for_all_studies_are_those_counted_for_one(store: SqlStudyStore) -> None:
    """What the bulk statement says, `refresh` says too: recalled, several versions, several models, not analysed."""
    for number, finding in enumerate(({"flag": Flag.URGENT}, {"flag": Flag.ELEVATED}, {"score": 0.2}, {})):
        analyse(store, study=f"1.{number}", at=number * 10, **finding)
    analyse(store, study="1.0", at=100, number=2, flag=Flag.ELEVATED)
    first = store.board.study("1.1")
    assert first is not None
    result = first.versions[0].jobs[0].result
    assert result is not None
    store.recall(result.result_id, reason=WHY, actor="x", now=after(150))
    for switch in (off, on):
        switch(store)
        counted = store.board.work_list()
        for number in range(4):
            # another image of no consequence: the study's line is derived anew
            store.ask_completion(f"1.{number}", actor="x", now=after(700))
            store.ask_analysis(f"1.{number}", actor="x", now=after(700))
        anew = store.board.work_list()
        of = {row.study.study_instance_uid: row for row in anew}
        for row in counted:
            other = of[row.study.study_instance_uid]
            assert (row.flag, row.model, row.frozen_at, row.switched_off) == (
                other.flag,
                other.model,
                other.frozen_at,
                other.switched_off,
            )
        assert [row.study.study_instance_uid for row in counted] == [row.study.study_instance_uid for row in anew]


def test_a_version_or_a_tenant_alone_is_switched_off(store: SqlStudyStore) -> None:
    for study, tenant in (("1.7", "a"), ("1.8", "b")):
        store.record(sent(image(1, study=study), image(2, study=study)), now=after(0), tenant=Tenant(name=tenant))
        version = VersionKey(study_instance_uid=study, number=1)
        assert store.complete(version, one_job(study), priority=2, seen=2, now=after(15))
    off(store, replace(LUNG, tenant="a"), at=16)
    off(store, replace(LUNG, version="0.9"), at=16)
    told = {job.version.study_instance_uid: job.switched_off for job in (lease_next(store)[1], lease_next(store)[1])}
    assert told == {"1.7": {EVERY, "0.9"}, "1.8": {"0.9"}}


def test_a_scope_is_off_until_that_scope_is_on_again(store: SqlStudyStore) -> None:
    assert off(store)
    assert not off(store, at=50)
    assert off(store, replace(LUNG, tenant="a"), at=60)
    assert on(store) is None
    (left,) = store.switches.off()
    assert (left.scope, left.at, left.actor, left.reason) == (replace(LUNG, tenant="a"), after(60), "Dr Lead", WHY)
    assert [(one.on, one.scope.tenant, one.kept) for one in store.switches.history()] == [
        (True, EVERY, Kept.SEND),
        (False, "a", None),
        (False, EVERY, None),
    ]


def test_what_was_kept_is_recalled_instead_and_never_sent(store: SqlStudyStore) -> None:
    urgent(store, "1.1")
    gone = due(store, at=35)
    assert gone is not None
    store.delivered(gone.delivery_id, now=after(36))
    urgent(store, "1.2", at=5)  # frozen before, still waiting to be sent
    off(store)
    urgent(store, "1.3", at=100)
    campaign = on(store, kept=Kept.RECALL)
    assert campaign is not None
    assert campaign.left == 2
    assert due(store) is None
    urgent(store, "1.4", at=510)
    assert carry_out(store) == 2
    assert [recalled(store, f"1.{number}") for number in (1, 2, 3, 4)] == [False, True, True, False]
    (last,) = [due(store)]
    assert last is not None
    assert due(store) is None
    assert order(store)[:2] == ["1.1", "1.4"]


def test_a_withheld_notification_holds_up_no_other_models(store: SqlStudyStore) -> None:
    from services.triage.finding import Occasion

    told = replace(RIS, told_of=frozenset(Occasion))
    both = replace(one_job(), jobs=(*one_job().jobs, *one_job(model="liver").jobs))
    complete_study(store, plan=both)
    frozen = []
    for _ in range(2):
        lease, job = lease_next(store)
        result, sha256s = a_result(flag=Flag.URGENT, lesions=(lesion(),))
        result = replace(result, model=replace(result.model, name=job.plan.model_name))
        frozen.append(job.plan.model_name)
        store.freeze(lease, result, sha256s=sha256s, destinations=[told], now=after(30 + len(frozen)))
    off(store, ModelScope(model_name=frozen[0]))
    claimed = store.claim_delivery(told.name, now=after(100), duration=LEASE)
    assert claimed is not None
    assert store.notification(claimed.delivery_id).result.model.name == frozen[1]


def test_a_campaign_recalls_the_results_of_its_period_in_which_the_model_looked(store: SqlStudyStore) -> None:
    for number in range(5):
        analyse(store, study=f"1.{number}", at=number * 100)
    analyse(store, study="1.9", at=250, outcome=Outcome.FAILED, score=None, reason=Reason(code="broken", text="broken"))
    period = Period(since=after(130), until=after(330))
    assert store.campaigns.count(LUNG, period) == 2
    assert store.campaigns.count(replace(LUNG, version="9"), period) == 0
    asked = store.campaigns.ask(LUNG, period, reason=WHY, actor="Dr Lead", now=after(500))
    assert (asked.recalled, asked.left, asked.finished_at) == (0, 2, None)
    assert carry_out(store) == 2
    assert [recalled(store, f"1.{number}") for number in range(5)] == [False, True, True, False, False]
    (done,) = store.campaigns.listed()
    assert (done.recalled, done.left, done.finished_at) == (2, 0, after(600))
    assert store.campaigns.claim(now=after(700), duration=LEASE) is None


def test_a_campaign_is_gone_on_with_by_one_at_a_time_and_by_another_once_that_one_is_silent(
    store: SqlStudyStore,
) -> None:
    analyse(store)
    store.campaigns.ask(LUNG, Period(until=after(400)), reason=WHY, actor="Dr Lead", now=after(500))
    first = store.campaigns.claim(now=after(500), duration=LEASE)
    assert first is not None
    assert store.campaigns.claim(now=after(510), duration=LEASE) is None
    second = store.campaigns.claim(now=after(500) + LEASE, duration=LEASE)
    assert second is not None
    campaign, claim = first
    assert not store.campaigns.go_on(campaign.campaign_id, claim, now=after(600), duration=timedelta(seconds=60))
    assert not store.campaigns.finish(campaign.campaign_id, claim, now=after(600))
    assert store.campaigns.finish(campaign.campaign_id, second[1], now=after(600))


@pytest.mark.parametrize("name", ["session", "pseudonyms"])
def test_a_secret_is_made_once(store: SqlStudyStore, name: str) -> None:
    first = store.sessions.secret(name)
    assert len(first) > 40
    assert store.sessions.secret(name) == first


def test_an_ended_session_is_told_until_it_would_be_over(store: SqlStudyStore) -> None:
    store.sessions.end("ab", forget_at=after(100), now=after(0))
    store.sessions.end("ab", forget_at=after(100), now=after(0))
    assert store.sessions.ended() == {"ab"}
    store.sessions.end("cd", forget_at=after(300), now=after(200))
    assert store.sessions.ended() == {"cd"}


def test_a_study_that_is_moved_has_the_place_that_its_new_tenant_gives_it(store: SqlStudyStore) -> None:
    analyse(store, study="1.7", at=-100)
    urgent(store)
    off(store, replace(LUNG, tenant="b"))
    assert order(store) == [STUDY, "1.7"]
    assert store.move(STUDY, Tenant(name="b"), actor="x", now=after(100))
    assert order(store) == ["1.7", STUDY]
