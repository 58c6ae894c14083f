"""Simulated histories whose truth is known: what was planted is found, and of clean histories almost none sounds."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from services.observatory.agreement import Measure
from services.observatory.chart import FlagChart, flag_chart
from services.observatory.drift import Feature
from services.observatory.figures import ALPHA, Alarm, Figures, Scope, observe
from services.observatory.history import Attribute, History, history_of
from services.observatory.record import Record
from services.triage.finding import Flag, Outcome
from tests.support.histories import START, World, simulate

BEFORE = START - timedelta(days=90)
SCOPE = Scope(
    model="ct_lung_lesion",
    model_version="1.0.0",
    since=START,
    until=START + timedelta(days=30),
    reference_since=BEFORE,
)


@pytest.fixture(scope="module")
def reference() -> History:
    return history_of(simulate(World(), days=90, start=BEFORE, seed=1))


def observed(world: World, reference: History, seed: int = 2) -> Figures:
    return observe(history_of(simulate(world, days=30, seed=seed)), reference, SCOPE, minimum=20)


def test_a_group_that_is_served_worse_is_found_and_named(reference: History) -> None:
    figures = observed(World(weak_sex="F"), reference)
    sounding = {(one.attribute, one.label, one.measure) for one in figures.disparities if one.alarm}
    assert (Attribute.SEX, "F", Measure.SENSITIVITY) in sounding
    assert {(attribute, label) for attribute, label, _ in sounding} == {(Attribute.SEX, "F")}
    female = next(one for one in figures.disparities if one.alarm)
    assert female.group.upper is not None
    assert female.others.lower is not None
    assert female.group.upper < female.others.lower


@pytest.mark.parametrize(
    ("world", "feature"),
    [
        pytest.param(World(score_shift=0.7), Feature.SCORE, id="scores move"),
        pytest.param(World(new_device=0.3), Feature.DEVICE, id="a scanner is exchanged"),
    ],
)
def test_drift_is_found_where_it_was_planted(reference: History, world: World, feature: Feature) -> None:
    figures = observed(world, reference)
    assert Alarm.DRIFT in figures.alarms
    assert feature in {one.feature for one in figures.drifts if one.alarm}


def test_a_step_of_the_flag_rate_is_found_within_days(reference: History) -> None:
    half = [*simulate(World(), days=15, seed=3)]
    later = simulate(World(flag_step=0.12), days=15, start=START + timedelta(days=15), seed=4)
    chart = observe(history_of([*half, *later]), reference, SCOPE, minimum=20).flag_chart
    assert chart is not None
    assert chart.alarm_since is not None
    assert chart.rose_on == chart.alarm_since
    assert 15 <= (chart.alarm_since - START.date()).days <= 20


def test_a_flag_rate_that_falls_is_found_too(reference: History) -> None:
    chart = observed(World(prevalence=0.08), reference).flag_chart
    assert chart is not None
    assert chart.fell_on is not None
    assert chart.rose_on is None


def test_a_flag_rate_that_fell_and_rose_since_is_told_with_both_days(reference: History) -> None:
    low = simulate(World(prevalence=0.04), days=15, seed=3)
    high = simulate(World(flag_step=0.25), days=15, start=START + timedelta(days=15), seed=4)
    chart = observe(history_of([*low, *high]), reference, SCOPE, minimum=20).flag_chart
    assert chart is not None
    assert chart.fell_on is not None
    assert chart.rose_on is not None
    assert chart.alarm_since == chart.fell_on < chart.rose_on


def test_of_twenty_clean_histories_no_more_sound_than_is_stated(reference: History) -> None:
    """Each kind at most in 1 of 100; benchmarks/observatory.py counts over many more."""
    sounding = [alarm for seed in range(20) for alarm in observed(World(), reference, seed=100 + seed).alarms]
    assert len(sounding) <= 2  # three kinds in twenty: more than two of sixty has a probability of 0.003 at most


@pytest.mark.parametrize(("before", "later"), [(Flag.ROUTINE, Flag.URGENT), (Flag.URGENT, Flag.ROUTINE)])
def test_where_no_study_was_flagged_or_each_one_the_chart_watches_as_well(before: Flag, later: Flag) -> None:
    def days(first: int, count: int, flag: Flag) -> Iterator[Record]:
        for number, one in enumerate(simulate(World(), days=count, start=BEFORE + timedelta(days=first), seed=first)):
            yield replace(one, flag=flag if number % 10 == 0 else before)

    reference = history_of(days(0, 90, before))
    changed = observe(history_of(days(90, 30, later)), reference, SCOPE, minimum=20).flag_chart
    assert changed is not None
    assert changed.alarm_since is not None
    assert (changed.alarm_since - START.date()).days <= 5
    assert (changed.rose_on is not None) == (later is Flag.URGENT)
    same = observe(history_of(days(90, 30, before)), reference, SCOPE, minimum=20).flag_chart
    assert same is not None
    assert same.alarm_since is None
    assert min(same.up, same.down) > 0


@pytest.mark.parametrize("rate", [0.0005, 0.01, 0.998])
def test_of_sixty_clean_histories_with_a_rare_flag_no_more_sound_than_is_stated(rate: float) -> None:
    draw = np.random.default_rng(7)

    def days(first: int, count: int) -> History:
        flags = draw.random(20 * count) < rate
        return history_of(
            Record(
                result_id="r",
                study_instance_uid="1.2",
                model="m",
                model_version="1",
                frozen_at=BEFORE + timedelta(days=first + number // 20),
                outcome=Outcome.NOTHING_FOUND,
                flag=Flag.URGENT if flagged else Flag.ROUTINE,
            )
            for number, flagged in enumerate(flags)
        )

    charts = [flag_chart(days(90, 30), days(0, 90), 20, ALPHA) for _ in range(60)]
    sounding = sum(isinstance(one, FlagChart) and one.alarm_since is not None for one in charts)
    assert sounding <= 3  # at 1 in 100, more than three of sixty have a probability of 0.003


def test_a_day_effect_that_was_there_before_is_no_alarm() -> None:
    def weeks(seed: int) -> World:
        return World(flag_step=0.15 if seed % 7 in (5, 6) else 0.0)

    def days(first: int, count: int):
        for day in range(first, first + count):
            yield from simulate(weeks(day), days=1, start=BEFORE + timedelta(days=day), seed=1000 + day)

    chart = observe(history_of(days(90, 30)), history_of(days(0, 90)), SCOPE, minimum=20).flag_chart
    assert chart is not None
    assert chart.spread > 0
    assert chart.alarm_since is None
