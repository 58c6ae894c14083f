"""References to DICOM objects from a document."""

from collections.abc import Iterable

from pydicom import Dataset
from pydicom.sequence import Sequence


def hierarchical(objects: Iterable[Dataset]) -> Sequence:
    """By study and series, in their order: the Hierarchical SOP Instance Reference Macro (PS3.3 table C.17-3)."""
    studies: dict[str, dict[str, list[Dataset]]] = {}
    for each in objects:
        reference = Dataset()
        reference.ReferencedSOPClassUID = each.SOPClassUID
        reference.ReferencedSOPInstanceUID = each.SOPInstanceUID
        series = studies.setdefault(each.StudyInstanceUID, {})
        series.setdefault(each.SeriesInstanceUID, []).append(reference)
    return Sequence([_study(uid, series) for uid, series in studies.items()])


def _study(uid: str, series: dict[str, list[Dataset]]) -> Dataset:
    study = Dataset()
    study.StudyInstanceUID = uid
    study.ReferencedSeriesSequence = []
    for series_uid, references in series.items():
        item = Dataset()
        item.SeriesInstanceUID = series_uid
        item.ReferencedSOPSequence = references
        study.ReferencedSeriesSequence.append(item)
    return study
