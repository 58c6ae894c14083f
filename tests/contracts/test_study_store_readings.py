"""Who takes and reads which study, the filters of the work list, and saved views, over every implementation."""

import threading
from dataclasses import replace

import pytest

from services.backends.store import ShownState, SqlStudyStore
from services.backends.store.board import AiSays
from services.backends.store.migrate import downgrade, upgrade
from services.backends.store.sight import Sight
from services.backends.store.views import SavedView
from services.backends.store.work_list import NOBODY, Waiting, WorkListFilter
from services.triage.errors import ReadingRefused, Reason
from services.triage.finding import Flag, Outcome
from services.triage.job import JobPlan, OrderPriority, Plan
from services.triage.organ import NO_TUMOUR_CLASS
from services.triage.reading import ReadAgain, ReadingAction, ReadingState, ReadingStep
from services.triage.switch import Kept, ModelScope
from services.triage.verdict import Answer, Shown, Verdict
from services.triage.workitem import ProcedureStepState
from tests.support.records import (
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
    sent,
)

OPEN = {ReadingState.UNREAD, ReadingState.TAKEN}


def do(store: SqlStudyStore, action: ReadingAction, reader: str = "A", *, at: float = 100, study: str = STUDY, **seen):
    return store.readings.enter(study, ReadingStep(action=action, reader=reader, at=after(at)), **seen)


def reading(store: SqlStudyStore, study: str = STUDY):
    return store.board.study(study).row.reading


def listed(store: SqlStudyStore, **wanted: object) -> list[str]:
    return [row.study.study_instance_uid for row in store.board.work_list(**wanted)]


def give(store: SqlStudyStore, answer: Answer, *, at: float = 200, verdict_id: str = "1" * 32, **told) -> None:
    store.verdicts.give(
        Verdict(
            verdict_id=verdict_id,
            study_instance_uid=STUDY,
            result_id=told.pop("result_id", None),
            answer=answer,
            reader="A",
            given_at=after(at),
            shown=Shown(page="study"),
            **told,
        )
    )


def freeze_next(store: SqlStudyStore, *, at: float) -> None:
    lease, job = lease_next(store, at=at)
    result, sha256s = a_result(model=replace(MODEL, name=job.plan.model_name))
    store.freeze(lease, result, sha256s=sha256s, destinations=[PACS], now=after(at))


def test_a_study_is_taken_released_read_and_opened_again_with_a_history(store: SqlStudyStore) -> None:
    analyse(store)
    seen = []
    for at, action in enumerate(ReadingAction):
        assert do(store, action, at=100 + at)
        seen.append((reading(store).state, reading(store).reader))
    assert seen == [("taken", "A"), ("unread", ""), ("read", "A"), ("unread", "")]
    history = [event.what for event in store.board.study(STUDY).events]
    assert history[-4:] == ["taken", "released", "read", "reopened"]
    assert not do(store, ReadingAction.REOPENED, at=110)


def test_what_another_has_is_not_taken_unawares(store: SqlStudyStore) -> None:
    analyse(store)
    do(store, ReadingAction.TAKEN, "A")
    for action in (ReadingAction.TAKEN, ReadingAction.READ):
        with pytest.raises(ReadingRefused) as refused:
            do(store, action, "B", seen="")
        assert refused.value.reason.code == "taken"
    with pytest.raises(ReadingRefused, match="given back"):
        do(store, ReadingAction.RELEASED, "B")
    assert do(store, ReadingAction.TAKEN, "B", at=101, seen="A")
    assert reading(store).reader == "B"
    do(store, ReadingAction.READ, "B", at=102)
    with pytest.raises(ReadingRefused, match="B has read it"):
        do(store, ReadingAction.TAKEN, "A", at=103)
    with pytest.raises(ReadingRefused, match="no instance"):
        do(store, ReadingAction.TAKEN, study="1.2.3")


def test_of_two_who_take_it_at_once_one_has_it(store: SqlStudyStore) -> None:
    analyse(store)
    outcomes: list[object] = []

    def take(reader: str) -> None:
        try:
            outcomes.append(do(store, ReadingAction.TAKEN, reader, seen=""))
        except ReadingRefused as refused:
            outcomes.append(refused.reason.code)

    threads = [threading.Thread(target=take, args=(reader,)) for reader in "AB"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes)) == ["True", "taken"]


def test_what_a_line_tells_of_is_asked_without_the_study_around_it(store: SqlStudyStore) -> None:
    told = []
    for step in (lambda: store.record(sent(image(1)), now=after(0)), lambda: analyse(store, at=50)):
        step()
        told.append(store.board.as_shown(STUDY))
        assert told[-1] == store.board.study(STUDY).row.shown == store.board.work_list()[0].shown
    assert len(set(told)) == 2
    assert store.board.as_shown("1.2.3") is None
    assert store.seen_by(Sight(tenants=frozenset({"north"}))).board.as_shown(STUDY) is None


def test_a_verdict_on_the_study_is_its_reading_until_it_is_undone(store: SqlStudyStore) -> None:
    analyse(store)
    result_id = store.board.study(STUDY).row.result_id
    give(store, Answer.UNSURE, verdict_id="0" * 32)
    assert reading(store).state is ReadingState.UNREAD
    give(store, Answer.ACCEPT, result_id=result_id)
    assert (reading(store).state, listed(store, readings=OPEN)) == (ReadingState.READ, [])
    give(store, Answer.UNDO, at=210, verdict_id="2" * 32, undoes="1" * 32)
    assert reading(store).state is ReadingState.UNREAD


def test_new_images_and_a_late_flag_bring_a_study_back(store: SqlStudyStore) -> None:
    analyse(store, study="1.2")
    do(store, ReadingAction.READ, study="1.2")
    assert listed(store, readings=OPEN) == []
    store.record(sent(image(50, study="1.2")), now=after(200))
    assert reading(store, "1.2").again is ReadAgain.NEW_IMAGES
    analyse(store, study="1.3", at=300, flag=Flag.URGENT, lesions=(lesion(),))
    do(store, ReadingAction.READ, at=301, study="1.3")  # before its result was frozen
    assert reading(store, "1.3").again is ReadAgain.FLAGGED


def test_an_answer_to_the_result_of_earlier_images_reads_none_that_came_since(store: SqlStudyStore) -> None:
    analyse(store)
    first = store.board.study(STUDY).row.result_id
    complete_study(store, number=2, at=100)  # and its analysis is under way
    give(store, Answer.ACCEPT, result_id=first)
    assert reading(store).again is ReadAgain.NEW_IMAGES
    assert listed(store, readings=OPEN) == [STUDY]
    do(store, ReadingAction.TAKEN, at=210)
    give(store, Answer.NOT_MY_QUESTION, at=220, verdict_id="2" * 32, result_id=first)
    assert reading(store).state is ReadingState.TAKEN
    freeze_next(store, at=230)
    assert reading(store).state is ReadingState.TAKEN
    give(store, Answer.ACCEPT, at=250, verdict_id="3" * 32, result_id=store.board.study(STUDY).row.result_id)
    assert reading(store).state is ReadingState.READ


def test_an_answer_to_a_model_that_still_looks_at_new_images_takes_back_no_reading(
    store: SqlStudyStore,
) -> None:
    plan = Plan(jobs=tuple(JobPlan(model_name=name, series_instance_uid=f"{STUDY}.1") for name in ("lung", "liver")))
    complete_study(store, plan=plan)
    freeze_next(store, at=20)
    freeze_next(store, at=30)
    complete_study(store, plan=plan, number=2, at=100)
    freeze_next(store, at=130)
    newer, *earlier = store.board.study(STUDY).results
    give(store, Answer.ACCEPT, result_id=newer.result_id)
    late = next(one.result_id for one in earlier if one.model.name != newer.model.name)
    give(store, Answer.ACCEPT, at=210, verdict_id="2" * 32, result_id=late)
    assert reading(store).state is ReadingState.READ


def test_a_rerun_of_what_was_read_does_not_bring_it_back(store: SqlStudyStore) -> None:
    analyse(store)
    do(store, ReadingAction.READ)
    store.ask_analysis(STUDY, actor="A", now=after(200))
    assert reading(store).state is ReadingState.READ


def test_what_is_read_here_is_no_task_for_anybody_else(store: SqlStudyStore) -> None:
    analyse(store, flag=Flag.URGENT, lesions=(lesion(),))
    assert store.board.study(STUDY).row.review is ProcedureStepState.SCHEDULED
    do(store, ReadingAction.READ)
    assert store.board.study(STUDY).row.review is ProcedureStepState.CANCELED


def test_each_filter_narrows_the_list(store: SqlStudyStore) -> None:
    analyse(store, study="1.1", at=0, flag=Flag.URGENT, lesions=(lesion(),))
    analyse(store, study="1.2", at=10, outcome=Outcome.NOTHING_FOUND)
    complete_study(store, study="1.3", at=20, priority=OrderPriority.STAT)
    store.record(sent(image(1, study="1.4", modality="MR")), now=after(30))
    do(store, ReadingAction.TAKEN, study="1.2")
    do(store, ReadingAction.READ, "B", study="1.1")
    assert listed(store) == ["1.3", "1.1", "1.2", "1.4"]
    assert listed(store, readings=OPEN) == ["1.3", "1.2", "1.4"]
    assert listed(store, readings={ReadingState.TAKEN, ReadingState.READ}) == ["1.1", "1.2"]
    assert listed(store, priorities=[OrderPriority.STAT]) == ["1.3"]
    assert listed(store, ai_says=[AiSays.URGENT, AiSays.NOTHING]) == ["1.1", "1.2"]
    assert listed(store, ai_says=[AiSays.WAITING]) == ["1.3", "1.4"]
    assert listed(store, modalities=["MR"]) == ["1.4"]
    assert listed(store, models=["lung"]) == ["1.1", "1.2"]
    assert listed(store, reader="A") == ["1.2"]
    assert listed(store, reader=NOBODY) == ["1.3", "1.4"]
    assert listed(store, states=[ShownState.QUEUED], priorities=[OrderPriority.STAT]) == ["1.3"]
    assert listed(store, search="doe")
    assert listed(store.seen_by(Sight(pseudonyms=b"key")), search="doe") == []
    assert store.board.waiting() == Waiting(everything=3, stat=1, urgent=0, unseen=0, organs=0)
    assert store.board.waiting(tenant="north") == Waiting(everything=0, stat=0, urgent=0, unseen=0, organs=0)
    assert store.board.model_names() == ("lung",)


def test_what_measured_organs_only_is_neither_what_did_not_look_nor_what_saw_nothing(store: SqlStudyStore) -> None:
    def told() -> dict[str, list[str]]:
        """By what the filter asks for: what it finds, each as its row says."""
        kinds = (AiSays.NOTHING, AiSays.UNSEEN, AiSays.ORGANS)
        found = {kind: listed(store, ai_says=[kind]) for kind in kinds}
        assert all(row.ai_says is kind for kind in kinds for row in store.board.work_list(ai_says=[kind]))
        waiting = store.board.waiting()
        assert (waiting.unseen, waiting.organs) == (len(found[AiSays.UNSEEN]), len(found[AiSays.ORGANS]))
        return found

    none = {"outcome": Outcome.NOT_ANALYSED, "score": None}
    analyse(store, study="1.1", outcome=Outcome.NOTHING_FOUND)
    analyse(store, study="1.2", at=10, **none, reason=Reason(code="too_few_slices", text="9 slices"))
    analyse(store, study="1.3", at=20, **none, reason=NO_TUMOUR_CLASS)
    first = {"nothing": ["1.1"], "unseen": ["1.2"], "organs": ["1.3"]}
    assert told() == first
    assert listed(store, ai_says=[AiSays.UNSEEN, AiSays.ORGANS]) == ["1.2", "1.3"]
    downgrade(store._engine, "0032")
    assert store.board.waiting().unseen == 2
    upgrade(store._engine)
    assert told() == first
    scope = ModelScope(model_name=MODEL.name)
    store.switches.switch_off(scope, reason="it is wrong", actor="A", now=after(100))
    assert told() == {"nothing": [], "unseen": ["1.1", "1.2", "1.3"], "organs": []}
    store.switches.switch_on(scope, kept=Kept.SEND, reason="mended", actor="A", now=after(110))
    assert told() == first
    measured = store.board.study("1.3").row.result_id
    store.recall(measured, reason="it is wrong", actor="A", now=after(120))
    assert told() == {"nothing": ["1.1"], "unseen": ["1.2", "1.3"], "organs": []}
    downgrade(store._engine, "0032")
    upgrade(store._engine)
    assert told()["organs"] == []


def test_pages_join_both_ways(store: SqlStudyStore) -> None:
    for number in range(1, 8):
        store.record(sent(image(1, study=f"1.{number}")), now=after(number % 3))  # some at one moment
    whole = listed(store)
    page, seen, before = store.board.page(WorkListFilter(), limit=3), [], []
    while True:
        seen += [row.study.study_instance_uid for row in page.rows]
        if page.after is None:
            break
        page = store.board.page(WorkListFilter(), at=page.after, limit=3)
    while page.before is not None:
        page = store.board.page(WorkListFilter(), at=page.before, limit=3)
        before = [row.study.study_instance_uid for row in page.rows] + before
    assert seen == whole
    assert before == whole[:6]


def test_views_are_ones_own_or_shared_and_saved_again_by_name(store: SqlStudyStore) -> None:
    def save(owner: str, name: str, query: str, *, shared: bool = False) -> None:
        store.views.save(SavedView(owner=owner, name=name, query=query, shared=shared), now=after(0))

    save("A", "mine", "ai=urgent")
    save("A", "mine", "ai=elevated")
    save("B", "for all", "state=failed", shared=True)
    save("B", "secret", "")
    assert [(one.name, one.query) for one in store.views.of("A")] == [
        ("for all", "state=failed"),
        ("mine", "ai=elevated"),
    ]
    assert not store.views.delete("for all", owner="A")
    assert store.views.delete("for all", owner="B")
    assert [one.name for one in store.views.of("A")] == ["mine"]
