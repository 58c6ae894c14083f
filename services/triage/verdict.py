"""What a reader answers to the AI: per lesion and per study, never changed, only undone by a later answer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from services.triage.finding import Outcome


class Answer(StrEnum):
    """accept, reject, modify: of the study, or of one lesion of the AI. add: a lesion that it missed.

    present, absent, unsure: the reader's own assessment of the study, before the AI's was shown.
    """

    ACCEPT = "accept"
    REJECT = "reject"
    MODIFY = "modify"
    ADD = "add"
    NOT_MY_QUESTION = "not_my_question"
    PRESENT = "present"
    ABSENT = "absent"
    UNSURE = "unsure"
    UNDO = "undo"


OWN_ASSESSMENTS = frozenset({Answer.PRESENT, Answer.ABSENT, Answer.UNSURE})


class RejectReason(StrEnum):
    """Why the AI is wrong. missed: of a study in which it missed a lesion."""

    VESSEL = "vessel"
    NORMAL_ANATOMY = "normal_anatomy"
    BENIGN = "benign"
    ARTEFACT = "artefact"
    DUPLICATE = "duplicate"
    OUTSIDE_SCOPE = "outside_scope"
    MISSED = "missed"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True, slots=True)
class MarkedLesion:
    """A lesion as the reader has it, of a modified or an added one. None: not told.

    object_sop_instance_uid: the SEG or SR in which the viewer saved it. image_sop_instance_uid: a slice that shows it.
    """

    finding: str = ""
    long_axis_mm: float | None = None
    volume_ml: float | None = None
    object_sop_instance_uid: str | None = None
    image_sop_instance_uid: str | None = None


class Confidence(StrEnum):
    """How sure a reader is of an assessment of their own."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnAssessment:
    """What a reader adds to an assessment of their own. None: not told. largest_mm: long axis of the largest lesion."""

    lesion_count: int | None = None
    largest_mm: float | None = None
    location: str = ""
    confidence: Confidence | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """What stood before the reader. blind: the AI's result did not. page: where they answered: list, study, viewer."""

    page: str
    blind: bool = False
    vigie_version: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """One answer of one reader.

    verdict_id: 32 hexadecimal digits, made by who asks, so that asking twice is one verdict. result_id: the AI result
    in question, also where it was not shown; None where there is none. tracking_uid: of the lesion; None: of the study.
    undoes: the verdict_id that an undo takes back.
    Raises ValueError where its parts do not go together.
    """

    verdict_id: str
    study_instance_uid: str
    result_id: str | None
    answer: Answer
    reader: str
    given_at: datetime
    shown: Shown
    tracking_uid: str | None = None
    reason: RejectReason | None = None
    comment: str = ""
    lesion: MarkedLesion | None = None
    undoes: str | None = None
    assessment: OwnAssessment | None = None

    def __post_init__(self) -> None:
        wrong = {
            "an undo names what it undoes, and nothing else does": (self.answer is Answer.UNDO) != bool(self.undoes),
            "what is rejected has a reason, and nothing else": (self.answer is Answer.REJECT) != bool(self.reason),
            "an added lesion has a Tracking UID": self.answer is Answer.ADD and self.tracking_uid is None,
            "an assessment of one's own is of the study": self.answer in OWN_ASSESSMENTS and bool(self.tracking_uid),
            "there is no AI result to answer to": self.result_id is None
            and self.answer in (Answer.ACCEPT, Answer.REJECT, Answer.MODIFY),
            "a lesion as the reader has it is of a modified or an added one": self.lesion is not None
            and self.answer not in (Answer.MODIFY, Answer.ADD),
            "what is told of an assessment of one's own is told with one": self.assessment is not None
            and self.answer not in OWN_ASSESSMENTS,
        }
        for why, is_so in wrong.items():
            if is_so:
                raise ValueError(why)

    def says_the_same(self, other: "Verdict") -> bool:
        """Whether all that was answered is equal; when, and what stood before the reader, may differ."""
        return replace(self, given_at=other.given_at, shown=other.shown) == other


class Truth(StrEnum):
    """What a reader's verdicts say of a study; unknown where they say nothing of it."""

    PRESENT = "present"
    ABSENT = "absent"
    UNKNOWN = "unknown"


def not_undone(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Those that nobody has taken back; an undo may be of another result than what it undoes."""
    given = list(verdicts)
    undone = {one.undoes for one in given}
    return [one for one in given if one.answer is not Answer.UNDO and one.verdict_id not in undone]


def standing(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """Those that hold, oldest first: not undone, and of one reader to one question the newest.

    An assessment made before the AI's result was shown stays beside the verdict on that result.
    """
    newest = {
        # an assessment made with the AI's result in view takes no blind one's place
        (one.reader, one.result_id, one.tracking_uid, one.answer in OWN_ASSESSMENTS and (True, one.shown.blind)): one
        for one in sorted(not_undone(verdicts), key=lambda one: (one.given_at, one.verdict_id))
    }
    return tuple(sorted(newest.values(), key=lambda one: (one.given_at, one.verdict_id)))


def truth_of(outcome: Outcome, tracking_uids: Sequence[str], verdicts: Iterable[Verdict]) -> Truth:
    """Whether there is a lesion in the study, by one reader's verdicts on one result.

    outcome, tracking_uids: of the result, and of the lesions that it tells of. An assessment made blind does not count
    here: it is the reader without the AI.
    """
    held = [one for one in standing(verdicts) if one.answer not in OWN_ASSESSMENTS]
    if any(one.answer is Answer.ADD for one in held):
        return Truth.PRESENT
    of_lesions = {one.tracking_uid: one.answer for one in held if one.tracking_uid in tracking_uids}
    if Answer.ACCEPT in of_lesions.values() or Answer.MODIFY in of_lesions.values():
        return Truth.PRESENT
    of_study = next((one for one in held if one.tracking_uid is None), None)
    if of_study is not None:
        return _of_study(outcome, of_study)
    rejected = [uid for uid in tracking_uids if of_lesions.get(uid) is Answer.REJECT]
    return Truth.ABSENT if tracking_uids and len(rejected) == len(tracking_uids) else Truth.UNKNOWN


def _of_study(outcome: Outcome, verdict: Verdict) -> Truth:
    if verdict.answer is Answer.MODIFY or verdict.reason is RejectReason.MISSED:
        return Truth.PRESENT
    said = {Outcome.FOUND: (Truth.PRESENT, Truth.ABSENT), Outcome.NOTHING_FOUND: (Truth.ABSENT, Truth.PRESENT)}
    accepted, rejected = said.get(outcome, (Truth.UNKNOWN, Truth.UNKNOWN))
    if outcome is Outcome.EQUIVOCAL:
        rejected = Truth.ABSENT
    return {Answer.ACCEPT: accepted, Answer.REJECT: rejected}.get(verdict.answer, Truth.UNKNOWN)
