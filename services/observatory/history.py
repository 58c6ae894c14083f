"""Many records as columns: some 200 bytes each, so that a region's year fits into memory."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt

from services.observatory.record import Record
from services.triage.finding import Flag, Outcome
from services.triage.verdict import Truth

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

DAY_S = 86_400.0
NOT_TOLD = ""
AGE_BANDS = ((0, "0-17"), (18, "18-39"), (40, "40-59"), (60, "60-74"), (75, "75+"))
THICKNESS_BANDS = ((0.0, "0-1.5"), (1.5, "1.5-3"), (3.0, "3-5"), (5.0, "5+"))
"""Lower bounds, of the slice thickness (mm) exclusive: 1.5 mm is '0-1.5'."""


class Attribute(StrEnum):
    """By what studies are grouped."""

    SEX = "sex"
    AGE = "age"
    DEVICE = "device"
    KERNEL = "kernel"
    THICKNESS = "thickness"
    SITE = "site"
    HELD = "held"


@dataclass(frozen=True, kw_only=True, eq=False)
class History:
    """Columns, one entry per record; NaN where a number is not told.

    outcome, flag, truth, own: whether each is so, by value. time: seconds since 1970. groups: by attribute the labels
    and for each record the place of its label. lesion_of: for each lesion of the AI the place of its record;
    lesion_correct: 1, 0, or -1 where it is not known. answered_twice: a reader did, blind and with the result in view;
    changed: not the same.
    """

    outcome: npt.NDArray[np.str_]
    flag: npt.NDArray[np.str_]
    truth: npt.NDArray[np.str_]
    own: npt.NDArray[np.str_]
    reason: npt.NDArray[np.str_]
    time: Floats
    score: Floats
    to_flag_s: Floats
    waited_s: Floats
    age_years: Floats
    thickness_mm: Floats
    energy_j: Floats
    energy_measured: Bools
    calibrated: Bools
    disputed: Bools
    recalled: Bools
    unmarked: Bools
    answered_twice: Bools
    changed: Bools
    missed: Ints
    labels: dict[Attribute, tuple[str, ...]]
    codes: dict[Attribute, Ints]
    lesion_of: Ints
    lesion_score: Floats
    lesion_correct: Ints

    def __len__(self) -> int:
        return len(self.time)

    @property
    def looked(self) -> Bools:
        """Whether the model looked at the images."""
        return np.isin(self.outcome, [one.value for one in Outcome if one.analysed])

    @property
    def positive(self) -> Bools:
        """Whether the AI says that there is a lesion; an equivocal study does not count as such."""
        return _bools(self.outcome == Outcome.FOUND)

    @property
    def flagged(self) -> Bools:
        """Whether the AI moves the study up."""
        return _bools(self.flag != Flag.ROUTINE)

    def truth_is(self, truth: Truth) -> Bools:
        """Whether readers say so, with the AI's result before them; only where the model looked."""
        return _bools((self.truth == truth) & self.looked)

    def own_is(self, truth: Truth) -> Bools:
        """Whether readers said so blind; only where the model looked."""
        return _bools((self.own == truth) & self.looked)

    def in_group(self, attribute: Attribute, label: str) -> Bools:
        """Whether a record belongs to a group."""
        names = self.labels[attribute]
        return _bools(self.codes[attribute] == (names.index(label) if label in names else -1))

    def lesion_counts(self) -> Ints:
        """How many lesions the AI told of."""
        return np.bincount(self.lesion_of, minlength=len(self))

    def where(self, chosen: Bools) -> "History":
        """Those records alone, with their lesions."""
        of_lesion = chosen[self.lesion_of]
        place = np.cumsum(chosen) - 1
        kept: dict[str, Any] = {name: getattr(self, name)[chosen] for name in (*_WORDS, *_NUMBERS, *_TRUTHS, "missed")}
        return History(
            **kept,
            labels=self.labels,
            codes={attribute: codes[chosen] for attribute, codes in self.codes.items()},
            lesion_of=place[self.lesion_of[of_lesion]],
            lesion_score=self.lesion_score[of_lesion],
            lesion_correct=self.lesion_correct[of_lesion],
        )


def _bools(truths: Any) -> Bools:
    return np.asarray(truths, dtype=np.bool_)


_WORDS = ("outcome", "flag", "truth", "own", "reason")
_NUMBERS = ("time", "score", "to_flag_s", "waited_s", "age_years", "thickness_mm", "energy_j")
_TRUTHS = ("energy_measured", "calibrated", "disputed", "recalled", "unmarked", "answered_twice", "changed")


class _Words:
    """A column of few different words, as places in their list."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self.codes = array("i")

    def add(self, word: str) -> None:
        self.codes.append(self.places.setdefault(str(word), len(self.places)))

    def words(self) -> npt.NDArray[np.str_]:
        return np.array(list(self.places) or [""])[self.numbers()] if self.codes else np.array([], dtype=np.str_)

    def numbers(self) -> Ints:
        return np.frombuffer(self.codes, dtype=np.int32).astype(np.int64) if self.codes else np.zeros(0, np.int64)


def history_of(records: Iterable[Record]) -> History:
    """The columns of records, which are read once and not kept."""
    words = {name: _Words() for name in _WORDS}
    groups = {attribute: _Words() for attribute in Attribute}
    numbers = {name: array("d") for name in _NUMBERS}
    truths = {name: array("b") for name in _TRUTHS}
    missed, lesion_of, lesion_score, lesion_correct = array("i"), array("i"), array("d"), array("b")
    for place, one in enumerate(records):
        said = one.judgement
        for name, word in zip(_WORDS, (one.outcome, one.flag, said.truth, said.own, one.reason), strict=True):
            words[name].add(word)
        for attribute, label in groups_of(one).items():
            groups[attribute].add(label)
        for name, number in zip(_NUMBERS, _numbers(one), strict=True):
            numbers[name].append(nan if number is None else number)
        for name, truth in zip(_TRUTHS, _truths(one), strict=True):
            truths[name].append(truth)
        missed.append(said.missed)
        for lesion in said.lesions:
            lesion_of.append(place)
            lesion_score.append(lesion.score)
            lesion_correct.append(-1 if lesion.correct is None else lesion.correct)
    columns: dict[str, Any] = {
        **{name: column.words() for name, column in words.items()},
        **{name: np.array(column, dtype=np.float64) for name, column in numbers.items()},
        **{name: np.array(column, dtype=np.bool_) for name, column in truths.items()},
    }
    return History(
        **columns,
        missed=np.array(missed, dtype=np.int64),
        labels={attribute: tuple(column.places) for attribute, column in groups.items()},
        codes={attribute: column.numbers() for attribute, column in groups.items()},
        lesion_of=np.array(lesion_of, dtype=np.int64),
        lesion_score=np.array(lesion_score, dtype=np.float64),
        lesion_correct=np.array(lesion_correct, dtype=np.int64),
    )


def _numbers(one: Record) -> tuple[float | None, ...]:
    traits = one.traits
    return (
        one.frozen_at.timestamp(),
        one.score,
        one.to_flag_s,
        one.waited_s,
        traits.age_years,
        traits.slice_thickness_mm,
        one.energy_j,
    )


def _truths(one: Record) -> tuple[bool, ...]:
    said = one.judgement
    return (
        one.energy_measured,
        one.calibrated,
        said.disputed,
        one.recalled,
        said.unmarked,
        said.changed is not None,
        bool(said.changed),
    )


def groups_of(one: Record) -> dict[Attribute, str]:
    """The group that a record belongs to, by attribute."""
    traits = one.traits
    age, thickness = traits.age_years, traits.slice_thickness_mm
    ages = [label for least, label in AGE_BANDS if age is not None and age >= least]
    thicknesses = [label for above, label in THICKNESS_BANDS if thickness is not None and thickness > above]
    return {
        Attribute.SEX: traits.sex,
        Attribute.AGE: ages[-1] if ages else NOT_TOLD,
        Attribute.DEVICE: traits.device,
        Attribute.KERNEL: traits.kernel,
        Attribute.THICKNESS: thicknesses[-1] if thicknesses else NOT_TOLD,
        Attribute.SITE: traits.site,
        Attribute.HELD: "held" if one.held else "shown",
    }
