"""One result as the observatory sees it: what the AI said, what readers answered, and of whom the images are."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.triage.finding import Flag, Outcome
from services.triage.lesion import Lesion
from services.triage.verdict import OWN_ASSESSMENTS, Answer, RejectReason, Truth, Verdict, standing, truth_of


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedLesion:
    """A lesion of the AI. correct: whether readers say that it is one; None: not told, or they disagree."""

    score: float
    correct: bool | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What readers say of one result.

    truth: with the AI's result before them; disputed: they disagree, and truth is unknown. own: what they said of the
    study blind, before the result was shown. changed: whether a reader answered other than they had blind; None: nobody
    did both. missed: lesions that they added, those of the reader who added most. unmarked: they say that a lesion was
    missed, and added none.
    """

    truth: Truth = Truth.UNKNOWN
    disputed: bool = False
    own: Truth = Truth.UNKNOWN
    changed: bool | None = None
    lesions: tuple[JudgedLesion, ...] = ()
    missed: int = 0
    unmarked: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Traits:
    """Whom and what the images show, and with what they were made; '' or None where it is not told."""

    sex: str = ""
    age_years: int | None = None
    device: str = ""
    kernel: str = ""
    slice_thickness_mm: float | None = None
    site: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One model's newest answer for one study.

    held: whether the AI's result was withheld until the read (blind first).
    to_flag_s: from the last image to the flag. waited_s: in the queue. energy_j: of the analysis.
    """

    result_id: str
    study_instance_uid: str
    model: str
    model_version: str
    frozen_at: datetime
    outcome: Outcome
    reason: str = ""
    flag: Flag = Flag.ROUTINE
    score: float | None = None
    calibrated: bool = False
    judgement: Judgement = Judgement()
    traits: Traits = Traits()
    held: bool = False
    recalled: bool = False
    to_flag_s: float | None = None
    waited_s: float | None = None
    energy_j: float | None = None
    energy_measured: bool = False


def judge(outcome: Outcome, lesions: Sequence[Lesion], verdicts: Iterable[Verdict]) -> Judgement:
    """What all readers of a result say together: what none of them contradicts."""
    held = standing(verdicts)
    if not held:  # most studies: nobody has answered
        return Judgement(lesions=tuple(JudgedLesion(score=lesion.score, correct=None) for lesion in lesions))
    readers = sorted({one.reader for one in held})
    of_reader = {reader: [one for one in held if one.reader == reader] for reader in readers}
    uids = [lesion.tracking_uid for lesion in lesions]
    answered = {reader: truth_of(outcome, uids, mine) for reader, mine in of_reader.items()}
    truths = set(answered.values()) - {Truth.UNKNOWN}
    truth = truths.pop() if len(truths) == 1 else Truth.UNKNOWN
    missed = max(sum(one.answer is Answer.ADD for one in mine) for mine in of_reader.values())
    blind = [one for one in held if one.answer in OWN_ASSESSMENTS - {Answer.UNSURE} and one.shown.blind]
    said = {Truth(one.answer) for one in blind}
    both = [(Truth(one.answer), answered[one.reader]) for one in blind if answered[one.reader] is not Truth.UNKNOWN]
    return Judgement(
        truth=truth,
        disputed=len(truths) > 1,
        own=said.pop() if len(said) == 1 else Truth.UNKNOWN,
        changed=any(own is not now for own, now in both) if both else None,
        lesions=tuple(
            JudgedLesion(score=lesion.score, correct=_correct(lesion.tracking_uid, len(lesions), truth, held))
            for lesion in lesions
        ),
        missed=missed,
        unmarked=not missed and any(map(_says_missed, held)),
    )


def _says_missed(one: Verdict) -> bool:
    return one.answer is Answer.ADD or one.reason is RejectReason.MISSED


_CORRECT = {Answer.ACCEPT: True, Answer.MODIFY: True, Answer.REJECT: False}


def _correct(uid: str, among: int, truth: Truth, held: Sequence[Verdict]) -> bool | None:
    """Of one lesion; without an answer of its own it follows the study's where that leaves no doubt."""
    answers = {_CORRECT[one.answer] for one in held if one.tracking_uid == uid and one.answer in _CORRECT}
    if answers:
        return answers.pop() if len(answers) == 1 else None
    if truth is Truth.ABSENT:
        return False
    # where it missed one, that may be the lesion of the study
    return True if truth is Truth.PRESENT and among == 1 and not any(map(_says_missed, held)) else None
