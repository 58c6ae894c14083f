"""Simulated histories whose truth is known: what a model said, what readers answered, and what was planted."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from services.observatory.record import JudgedLesion, Judgement, Record, Traits
from services.triage.finding import Flag, Outcome
from services.triage.verdict import Truth

START = datetime(2026, 10, 1, tzinfo=UTC)
DETECT, ELEVATED, URGENT = 0.5, 0.7, 0.9
DEVICES = ("ACME Alpha", "ACME Beta", "Borealis CT9")
KERNELS = ("Br40", "Lung B60")


@dataclass(frozen=True, kw_only=True)
class World:
    """How studies come about. Scores are beta-distributed, so that all is known: see `sensitivity`, `specificity`.

    answers_found, answers_not_found: the share of studies that readers answer, by what the AI said: the verification
    bias. blind: the share withheld and read blind first. weak_sex: of whom the AI misses more.
    score_shift: added to logits.
    """

    studies_a_day: int = 40
    prevalence: float = 0.25
    strong: tuple[float, float] = (6.0, 2.0)
    weak: tuple[float, float] = (2.0, 6.0)
    answers_found: float = 0.8
    answers_not_found: float = 0.3
    blind: float = 0.2
    weak_sex: str = ""
    score_shift: float = 0.0
    new_device: float = 0.0
    flag_step: float = 0.0
    refused: float = 0.05


def simulate(world: World, *, days: int, start: datetime = START, seed: int = 0) -> Iterator[Record]:
    """The records of so many days."""
    draw = np.random.default_rng(seed)
    for day in range(days):
        for _ in range(draw.poisson(world.studies_a_day)):
            yield _study(world, draw, start + timedelta(days=day, seconds=float(draw.uniform(0, 86_400))))


def _study(world: World, draw: np.random.Generator, at: datetime) -> Record:
    sex = "FM"[draw.integers(2)]
    device = "Novum X1" if draw.random() < world.new_device else DEVICES[draw.integers(len(DEVICES))]
    traits = Traits(
        sex=sex,
        age_years=int(np.clip(draw.normal(62, 15), 0, 100)),
        device=device,
        kernel=KERNELS[draw.integers(len(KERNELS))],
        slice_thickness_mm=(1.0, 2.0, 5.0)[draw.integers(3)],
        site=("north", "south")[draw.integers(2)],
    )
    told = {
        "result_id": f"{draw.integers(2**62):032x}",
        "study_instance_uid": f"2.25.{draw.integers(2**62)}",
        "model": "ct_lung_lesion",
        "model_version": "1.0.0",
        "frozen_at": at,
        "traits": traits,
        "to_flag_s": float(draw.lognormal(4, 0.6)),
        "waited_s": float(draw.exponential(20)),
        "energy_j": float(draw.normal(900, 90)),
    }
    if draw.random() < world.refused:
        return Record(**told, outcome=Outcome.NOT_ANALYSED, reason="too_few_slices")
    present = bool(draw.random() < world.prevalence)
    score = float(draw.beta(*(world.strong if present and sex != world.weak_sex else world.weak)))
    if present and sex == world.weak_sex:
        score = float(draw.beta(3.0, 3.0))
    if draw.random() < world.flag_step:
        score = float(draw.uniform(ELEVATED, 1.0))
    score = float(1 / (1 + np.exp(-(np.log(score / (1 - score)) + world.score_shift))))
    found = score >= DETECT
    answered = draw.random() < (world.answers_found if found else world.answers_not_found)
    truth = (Truth.PRESENT if present else Truth.ABSENT) if answered else Truth.UNKNOWN
    own = (Truth.PRESENT if present else Truth.ABSENT) if draw.random() < world.blind else Truth.UNKNOWN
    return Record(
        **told,
        outcome=Outcome.FOUND if found else Outcome.NOTHING_FOUND,
        flag=Flag.URGENT if score >= URGENT else Flag.ELEVATED if score >= ELEVATED else Flag.ROUTINE,
        score=score,
        judgement=Judgement(
            truth=truth,
            own=own,
            changed=False if Truth.UNKNOWN not in (truth, own) else None,
            lesions=(JudgedLesion(score=score, correct=present if answered else None),) if found else (),
            missed=int(answered and present and not found),
        ),
        held=own is not Truth.UNKNOWN,
    )
