"""A reader's verdicts on a result that was written for a test."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydicom import Dataset, dcmread

from services.backends.verdict_report import Assessed, Reference, Subject
from services.triage.verdict import Answer, MarkedLesion, RejectReason, Shown, Verdict
from tests.support.lesion_case import a_model
from tests.support.reports import Written

GIVEN = datetime(2024, 1, 2, 13, 0, tzinfo=UTC)
RESULT = "0" * 31 + "1"


def reference_to(header: Dataset) -> Reference:
    return Reference(
        sop_class_uid=header.SOPClassUID,
        sop_instance_uid=header.SOPInstanceUID,
        series_instance_uid=header.SeriesInstanceUID,
    )


def subject_of(result: Written, sources: Sequence[Path], verdicts: Sequence[Verdict]) -> Subject:
    """A document of these verdicts on a result."""
    headers = {path: dcmread(path, stop_before_pixels=True) for path in [*sources, *result.paths]}
    segmentation = next(iter(result.of("SEG")), None)
    assessed = Assessed(
        model=a_model().identity,
        lesions=result.finding.lesions,
        report=reference_to(headers[result.reports[0]]),
        segmentation=reference_to(headers[segmentation]) if segmentation else None,
    )
    return Subject(
        header=headers[sources[0]],
        reader="Dr Ada^Lovelace\\=",
        verdicts=verdicts,
        assessed={RESULT: assessed},
        stored={str(each.SOPInstanceUID): reference_to(each) for each in headers.values()},
        now=GIVEN + timedelta(minutes=2),
    )


def every_answer(result: Written, sources: Sequence[Path]) -> list[Verdict]:
    """One of each kind, the lesions of the result in turn."""
    first = Verdict(
        verdict_id="0" * 32,
        study_instance_uid="2.25.1",
        result_id=RESULT,
        answer=Answer.ACCEPT,
        reader="Dr Ada",
        given_at=GIVEN,
        shown=Shown(page="study"),
    )
    image = str(dcmread(sources[3], stop_before_pixels=True).SOPInstanceUID)
    saved = str(dcmread(result.of("SEG")[0], stop_before_pixels=True).SOPInstanceUID) if result.of("SEG") else None
    modified = MarkedLesion(finding="nodule", long_axis_mm=12.34, volume_ml=0.9, object_sop_instance_uid=saved)
    added = MarkedLesion(finding="a strange one", long_axis_mm=4.0, image_sop_instance_uid=image)
    changes = [{"answer": Answer.REJECT, "reason": RejectReason.MISSED, "comment": "one in the apex"}]
    lesions = [one.tracking_uid for one in result.finding.lesions]
    of_lesions = [
        {"answer": Answer.MODIFY, "lesion": modified},
        {"answer": Answer.REJECT, "reason": RejectReason.VESSEL, "comment": "hilum, Éa"},
        {"answer": Answer.ACCEPT},
        {"answer": Answer.NOT_MY_QUESTION},
    ]
    changes += [{"tracking_uid": uid, **told} for uid, told in zip(lesions, of_lesions, strict=False)]
    changes += [
        {"answer": Answer.ADD, "tracking_uid": "2.25.99", "lesion": added},
        {"answer": Answer.UNSURE},
    ]
    return [replace(first, verdict_id=f"{number:032}", **told) for number, told in enumerate(changes)]
