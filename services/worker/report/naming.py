"""Which kind of Segmentation a report refers to, told by its own evidence."""

from collections.abc import Sequence

from pydicom import Dataset

from services.triage.result import SEGMENTATIONS, ObjectKind, kind_of


def named_by(document: Dataset) -> ObjectKind | None:
    """The kind of Segmentation in the evidence of a report (PS3.3 C.17.2.3), None where there is none."""
    for study in document.get("CurrentRequestedProcedureEvidenceSequence", ()):
        for series in study.ReferencedSeriesSequence:
            for item in series.ReferencedSOPSequence:
                if item.ReferencedSOPClassUID in SEGMENTATIONS:
                    return kind_of(item.ReferencedSOPClassUID)
    return None


def kin(reports: Sequence[Dataset], kind: ObjectKind | None) -> list[Dataset]:
    """Those of an earlier result that went where a report that names `kind` goes now; all, where none did."""
    return [report for report in reports if named_by(report) is kind] or list(reports)
