"""The contract of `StudyStore.observations`: what the observatory reads is what was said, and of each study once."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from services.backends.store import SqlStudyStore, open_store, tables
from services.backends.store.engine import connect, writing
from services.backends.store.observations import Observation, Span, _analyses
from services.backends.store.result_traits import age_years
from services.observatory.figures import Scope, observe
from services.observatory.history import history_of
from services.observatory.record import Record, Traits
from services.triage.blind import BlindPolicy, BlindRule
from services.triage.finding import Outcome
from services.triage.result import Energy, EnergySource
from services.triage.verdict import Answer, RejectReason, Shown, Truth, Verdict
from tests.support.histories import START, World, simulate
from tests.support.records import (
    MODEL,
    NOON,
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
from tests.support.stored_histories import keep_history

ALWAYS = Span(since=after(-1e7), until=after(1e7))


def records(store: SqlStudyStore, span: Span = ALWAYS) -> Sequence[Record]:
    return list(store.observations.records(span))


def say(store: SqlStudyStore, result_id: str, answer: Answer, **told: object) -> None:
    store.verdicts.give(
        Verdict(
            **{  # type: ignore[arg-type]
                "verdict_id": uuid4().hex,
                "study_instance_uid": STUDY,
                "result_id": result_id,
                "answer": answer,
                "reader": "Dr A",
                "given_at": after(100),
                "shown": Shown(page="study"),
                **told,
            }
        )
    )


def test_a_record_tells_what_was_said_answered_and_of_whom(store: SqlStudyStore) -> None:
    told = {"manufacturer": "ACME ", "manufacturer_model_name": "Alpha", "convolution_kernel": "Br40"}
    one = image(1, **told)
    study = replace(one.study, patient_sex="F", patient_age="063Y", study_date="20260301")
    store.record(sent(replace(one, study=study)), now=NOON)
    complete_study(store, images=1)
    lease, _ = lease_next(store)
    energy = Energy(joules=812.5, source=EnergySource.MEASURED)
    result, sha256s = a_result(lesions=(lesion(1, score=0.9),))
    frozen = replace(result, energy=energy, timings_s={"load": 2.0, "load.x": 1.0})
    every_one = BlindPolicy(rules=(BlindRule(share=1.0),), key="a key of sixteen")
    store.freeze(lease, frozen, sha256s=sha256s, destinations=[PACS], now=after(30), blind=every_one)
    (row,) = records(store)
    say(store, row.result_id, Answer.ABSENT)
    say(store, row.result_id, Answer.REJECT, reason=RejectReason.VESSEL, tracking_uid="2.25.1")
    (row,) = records(store)
    assert row.traits == Traits(
        sex="F", age_years=63, device="ACME Alpha", kernel="Br40", slice_thickness_mm=1.0, site=""
    )
    assert row.held
    assert (row.outcome, row.model, row.model_version) == (Outcome.FOUND, MODEL.name, MODEL.version)
    assert (row.judgement.truth, row.judgement.own) == (Truth.ABSENT, Truth.ABSENT)
    assert [one.correct for one in row.judgement.lesions] == [False]
    assert (row.to_flag_s, row.waited_s) == (30.0, 13.0)
    assert (row.energy_j, row.energy_measured) == (812.5, True)
    assert store.observations.energy_j() == {(MODEL.name, "measured"): 812.5}
    detail = store.board.study(STUDY)
    assert detail is not None
    told_of = detail.versions[0].jobs[0].result
    assert told_of is not None
    assert (told_of.energy_j, told_of.energy_source) == (812.5, EnergySource.MEASURED)


def test_what_is_undone_does_not_count_though_the_undo_names_no_result(store: SqlStudyStore) -> None:
    """As older processes kept it."""
    analyse(store, lesions=(lesion(1),))
    (before,) = records(store)
    accepted = uuid4().hex
    say(store, before.result_id, Answer.ACCEPT, verdict_id=accepted)
    assert [one.truth for one in store.training.candidates()] == [Truth.PRESENT]
    say(store, before.result_id, Answer.UNDO, undoes=accepted, given_at=after(101))
    with writing(store._engine) as connection:
        undone = tables.verdict.c.undoes == accepted
        connection.execute(sa.update(tables.verdict).where(undone).values(result_id=None))
    (after_all,) = records(store)
    assert after_all.judgement.truth is Truth.UNKNOWN
    assert store.training.candidates() == []


def test_of_a_study_that_is_analysed_again_the_newest_counts_in_its_span(store: SqlStudyStore) -> None:
    analyse(store)
    first = records(store)
    analyse(store, at=100, number=2)
    assert len(first) == 1
    both = records(store)
    assert len(both) == 1
    assert both[0].frozen_at > first[0].frozen_at
    assert records(store, replace(ALWAYS, until=both[0].frozen_at)) == first
    assert records(store, replace(ALWAYS, model="another")) == []
    assert store.observations.models(ALWAYS) == [(MODEL.name, MODEL.version, 2)]


def test_results_of_an_older_process_get_their_traits_when_they_are_looked_at(
    store: SqlStudyStore, store_url: str
) -> None:
    analyse(store)
    engine = connect(store_url)
    with writing(engine) as connection:
        connection.execute(sa.delete(tables.result_traits))
    engine.dispose()
    assert records(store)[0].traits.device == ""
    assert store.observations.fill() == 1
    assert records(store)[0].traits.device == "ACME"
    assert store.observations.fill() == 0


@pytest.mark.parametrize(
    ("age", "birth_date", "study_date", "years"),
    [
        ("063Y", "", "", 63),
        ("018M", "", "", 1),
        ("010D", "", "", 0),
        ("", "19600615", "20260614", 65),
        ("", "19600615", "20260615", 66),
        ("", "1960", "20260615", None),
        ("old", "", "", None),
        ("", "20300101", "20260615", None),
    ],
)
def test_an_age_is_told_or_reckoned(age: str, birth_date: str, study_date: str, years: int | None) -> None:
    assert age_years(age, birth_date, study_date) == years


def test_what_was_simulated_comes_back_over_many_batches(store: SqlStudyStore, store_url: str) -> None:
    simulated = sorted(simulate(World(), days=30, seed=5), key=lambda one: (one.frozen_at, one.result_id))
    assert len(simulated) > 1000
    assert keep_history(store_url, simulated) == len(simulated)
    span = Span(since=START, until=START + timedelta(days=30))
    scope = Scope(
        model="ct_lung_lesion", model_version="1.0.0", since=span.since, until=span.until, reference_since=span.since
    )
    nothing = history_of([])
    came, went = (observe(history_of(each), nothing, scope, minimum=20) for each in (records(store, span), simulated))
    assert came.measures == went.measures
    assert came.groupings == went.groupings
    assert came.froc == went.froc
    assert came.calibration == went.calibration
    kept = Observation(computed_at=span.until, figures=came)
    store.observations.keep([kept])
    store.observations.keep([kept])
    assert store.observations.kept() == (kept,)


def test_what_came_later_is_looked_for_among_the_results_of_the_study_and_not_of_the_model(tmp_path: Path) -> None:
    """Else figures take a time that grows with the square of the results. SQLite has no statistics to choose by."""
    url = f"sqlite:///{tmp_path / 'vigie.sqlite'}"
    open_store(url)
    query = _analyses(replace(ALWAYS, model=MODEL.name, model_version=MODEL.version), None, NOON).limit(1000)
    with connect(url).connect() as connection:
        told = query.compile(connection, compile_kwargs={"literal_binds": True})
        plan = [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {told}")]
    (later,) = [step for step in plan if "result_1" in step]
    assert "(study_instance_uid=?)" in later


def test_of_several_desks_one_takes_each_turn(store: SqlStudyStore) -> None:
    def take(now: datetime) -> bool:
        return store.observations.take_turn(now=now, interval=timedelta(hours=1))

    assert [take(NOON), take(NOON), take(after(3599)), take(after(3600)), take(after(3601))] == [
        True,
        False,
        False,
        True,
        False,
    ]
