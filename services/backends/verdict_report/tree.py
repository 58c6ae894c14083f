"""The content tree: TID 1500 with a TID 1501 group per lesion that was answered, and the answers on the whole study."""

from collections.abc import Iterator
from uuid import NAMESPACE_OID, uuid5

from pydicom import Dataset

from services import __version__
from services.backends.verdict_report import codes
from services.backends.verdict_report.items import (
    CONTAINS,
    CONTEXT,
    INFERRED,
    MODIFIER,
    PROPERTY,
    code,
    container,
    moment,
    number,
    person,
    reference,
    text,
    uid,
)
from services.backends.verdict_report.subject import Assessed, Reference, Subject
from services.triage import concepts
from services.triage.completeness import OWN_MANUFACTURER
from services.triage.model import Code
from services.triage.result import SEGMENTATIONS
from services.triage.verdict import OWN_ASSESSMENTS, Answer, MarkedLesion, RejectReason, Verdict

_THERE = frozenset({Answer.ACCEPT, Answer.MODIFY, Answer.ADD})
_NO_LESION = frozenset({RejectReason.VESSEL, RejectReason.NORMAL_ANATOMY, RejectReason.ARTEFACT})


def content_of(subject: Subject) -> list[Dataset]:
    """The items below the root."""
    lesions = [one for one in subject.verdicts if one.tracking_uid is not None]
    tree = [
        code(MODIFIER, codes.LANGUAGE, codes.ENGLISH),
        *_observers(subject.reader),
        code(MODIFIER, codes.PROCEDURE, codes.IMAGING_PROCEDURE),
    ]
    if lesions:
        names = _names(lesions, subject)
        groups = [_group(one, names[one.verdict_id], subject) for one in lesions]
        tree.append(container(codes.MEASUREMENTS, groups))
    tree.append(container(codes.EVALUATIONS, _evaluations(subject)))
    return tree


def pn(name: str) -> str:
    """A reader's name as a value of VR PN: what delimits its parts and values is a space."""
    words = "".join(" " if letter in "\\^=" or not letter.isprintable() else letter for letter in name)
    return " ".join(words.split())[:64]


def _observers(reader: str) -> Iterator[Dataset]:
    """TID 1002, twice: the reader, and the program that they answered in."""
    yield code(CONTEXT, codes.OBSERVER_TYPE, codes.PERSON)
    yield person(CONTEXT, codes.PERSON_NAME, pn(reader))
    yield code(CONTEXT, codes.OBSERVER_TYPE, codes.DEVICE)
    yield uid(CONTEXT, codes.DEVICE_UID, f"2.25.{uuid5(NAMESPACE_OID, f'vigie desk {__version__}').int}")
    yield text(CONTEXT, codes.DEVICE_NAME, OWN_MANUFACTURER)
    yield text(CONTEXT, codes.DEVICE_MANUFACTURER, OWN_MANUFACTURER)
    yield text(CONTEXT, codes.DEVICE_MODEL, f"{OWN_MANUFACTURER} {__version__}")


def _names(lesions: list[Verdict], subject: Subject) -> dict[str, str]:
    """Tracking Identifiers by verdict_id: the AI's labels; added lesions are counted."""
    added = [one.verdict_id for one in lesions if one.answer is Answer.ADD]
    labels = {lesion.tracking_uid: lesion.label for one in subject.assessed.values() for lesion in one.lesions}
    return {
        one.verdict_id: f"Added lesion {added.index(one.verdict_id) + 1}"
        if one.verdict_id in added
        else labels.get(str(one.tracking_uid), "Lesion")
        for one in lesions
    }


def _group(verdict: Verdict, name: str, subject: Subject) -> Dataset:
    """TID 1501: one lesion. Its tracking identifiers are those of the AI's report and segment."""
    lesion = verdict.lesion or MarkedLesion()
    assessed = subject.assessed.get(verdict.result_id or "")
    finding = codes.FINDINGS.get(lesion.finding, concepts.LESION)
    items = [
        text(CONTEXT, codes.TRACKING_ID, name),
        uid(CONTEXT, codes.TRACKING_UID, str(verdict.tracking_uid)),
        code(CONTAINS, codes.FINDING, finding),
        *_presence(verdict),
        _answer(verdict, assessed),
    ]
    if lesion.finding and lesion.finding not in codes.FINDINGS:
        items.append(text(CONTAINS, codes.COMMENT, f"Called: {lesion.finding}"))
    if lesion.long_axis_mm is not None:
        items.append(number(concepts.LONG_AXIS, lesion.long_axis_mm, concepts.MM))
    if lesion.volume_ml is not None:
        items.append(number(concepts.VOLUME, lesion.volume_ml * 1000, concepts.MM3))
    return container(codes.GROUP, [*items, *_evidence(verdict, lesion, assessed, subject)], template="1501")


def _presence(verdict: Verdict) -> Iterator[Dataset]:
    """Nothing where the answer does not tell: a duplicate, a benign lesion, is one all the same."""
    if verdict.answer in _THERE:
        yield code(CONTAINS, concepts.LESION, codes.PRESENT)
    elif verdict.reason in _NO_LESION:
        yield code(CONTAINS, concepts.LESION, codes.ABSENT)


def _evidence(verdict: Verdict, lesion: MarkedLesion, assessed: Assessed | None, subject: Subject) -> Iterator[Dataset]:
    """The AI's segment, the slice, and what the reader saved."""
    if assessed is not None and assessed.segmentation is not None:
        for one in assessed.lesions:
            if one.tracking_uid == verdict.tracking_uid:
                segment = one.number
                yield reference(
                    CONTAINS, codes.REFERENCED_SEGMENT, assessed.segmentation, is_image=True, segment=segment
                )
    if image := subject.stored.get(lesion.image_sop_instance_uid or ""):
        yield reference(CONTAINS, codes.ILLUSTRATION, image, is_image=True)
    if saved := subject.stored.get(lesion.object_sop_instance_uid or ""):
        yield reference(CONTAINS, codes.SAVED, saved, is_image=_is_image(saved))


def _evaluations(subject: Subject) -> Iterator[Dataset]:
    of_study = [one for one in subject.verdicts if one.tracking_uid is None]
    for one in of_study:
        yield _answer(one, subject.assessed.get(one.result_id or ""))
    if not subject.verdicts:
        yield code(CONTAINS, codes.ANSWER, codes.NONE_STANDS)
    yield text(CONTAINS, codes.COMMENT, _said(subject))


def _answer(verdict: Verdict, assessed: Assessed | None) -> Dataset:
    """What was answered, why and when, and to which result."""
    name, value = _question_and_answer(verdict)
    below = [moment(CONTEXT, codes.GIVEN_AT, verdict.given_at)]
    if verdict.reason is not None:
        below.append(code(PROPERTY, codes.REASON, codes.REASONS[verdict.reason]))
    if verdict.comment:
        below.append(text(PROPERTY, codes.COMMENT, verdict.comment))
    # an assessment of one's own was made without the AI's result
    if assessed is not None and verdict.answer not in OWN_ASSESSMENTS:
        below.append(text(PROPERTY, codes.MODEL_NAME, assessed.model.name))
        below.append(text(PROPERTY, codes.MODEL_VERSION, assessed.model.version))
        if assessed.report is not None:
            below.append(reference(INFERRED, codes.RESULT, assessed.report))
    return code(CONTAINS, name, value, below)


def _question_and_answer(verdict: Verdict) -> tuple[Code, Code]:
    if verdict.answer in OWN_ASSESSMENTS:
        return codes.OWN_ASSESSMENT, codes.ASSESSMENTS[verdict.answer]
    return codes.ANSWER, codes.ANSWERS[verdict.answer]


def _said(subject: Subject) -> str:
    """In words, for who reads no codes."""
    count = len(subject.verdicts)
    answers = f"{count} answer{'' if count == 1 else 's'}" if count else "no answer any more, all were taken back"
    again = " Replaces the reader's earlier document." if subject.predecessor else ""
    return (
        f"What a reader answered to the result of an AI: {answers}. The AI's own objects are not altered by it. "
        f"A document of Vigie's own form; not a radiology report.{again}"
    )


def _is_image(saved: Reference) -> bool:
    return saved.sop_class_uid in SEGMENTATIONS
