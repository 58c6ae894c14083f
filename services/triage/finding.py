"""From lesions to one finding for the study: outcome, score, flag."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from services.triage.errors import Reason
from services.triage.lesion import Lesion
from services.triage.model import Thresholds
from services.triage.organ import Organ
from services.triage.uncertainty import Uncertainty


class Outcome(StrEnum):
    """How a job ended."""

    FOUND = "found"
    NOTHING_FOUND = "nothing_found"
    EQUIVOCAL = "equivocal"
    NOT_ANALYSED = "not_analysed"
    FAILED = "failed"

    @property
    def analysed(self) -> bool:
        """Whether the model looked for lesions in the images."""
        return self not in (Outcome.NOT_ANALYSED, Outcome.FAILED)


class Occasion(StrEnum):
    """What somebody may ask to be told of: an outcome, or any flag above routine."""

    FLAGGED = "flagged"
    FOUND = "found"
    NOTHING_FOUND = "nothing_found"
    EQUIVOCAL = "equivocal"
    NOT_ANALYSED = "not_analysed"
    FAILED = "failed"


class Flag(StrEnum):
    """The AI's flag; it only ever moves a study up."""

    URGENT = "urgent"
    ELEVATED = "elevated"
    ROUTINE = "routine"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What one job has to say. `score` is that of the best candidate, None when the model did not look.

    lesions: those that reach the detection threshold, or in an equivocal study the candidates between the two.
    reason: why not, when the outcome is not_analysed or failed.
    cautions: in what the images are unlike those that the model was made for.
    uncertainty: of the score; None: it was not asked for, or the model did not look.
    organs: every organ class of the model that looked, found or not; also of one that looks for no lesions.
    """

    outcome: Outcome
    score: float | None
    flag: Flag
    calibrated: bool
    lesions: tuple[Lesion, ...] = ()
    reason: Reason | None = None
    cautions: tuple[Reason, ...] = ()
    uncertainty: Uncertainty | None = None
    organs: tuple[Organ, ...] = ()

    @property
    def occasions(self) -> frozenset[Occasion]:
        """Of which occasions it is one."""
        flagged = {Occasion.FLAGGED} if self.flag is not Flag.ROUTINE else set()
        return frozenset({Occasion(self.outcome)} | flagged)


def two_digits(score: float) -> str:
    """A score as people read it; only certainty reads as 1.00."""
    return f"{score if score == 1 else min(score, 0.99):.2f}"


def assess(candidates: Sequence[Lesion], thresholds: Thresholds, *, calibrated: bool) -> Finding:
    """Decide outcome, score and flag from the candidates, which come numbered by falling score."""
    score = max((candidate.score for candidate in candidates), default=0.0)
    found = tuple(c for c in candidates if c.score >= thresholds.detect)
    if found:
        return Finding(
            outcome=Outcome.FOUND, score=score, flag=_flag(score, thresholds), calibrated=calibrated, lesions=found
        )
    doubtful = tuple(c for c in candidates if c.score >= thresholds.equivocal_low)
    outcome = Outcome.EQUIVOCAL if doubtful else Outcome.NOTHING_FOUND
    return Finding(outcome=outcome, score=score, flag=Flag.ROUTINE, calibrated=calibrated, lesions=doubtful)


def without_analysis(outcome: Outcome, reason: Reason) -> Finding:
    """The finding of a job in which no model looked for lesions: not_analysed or failed."""
    if outcome.analysed:
        raise ValueError(f"{outcome} is an analysed outcome")
    return Finding(outcome=outcome, score=None, flag=Flag.ROUTINE, calibrated=False, reason=reason)


def _flag(score: float, thresholds: Thresholds) -> Flag:
    if score >= thresholds.urgent:
        return Flag.URGENT
    return Flag.ELEVATED if score >= thresholds.elevated else Flag.ROUTINE
