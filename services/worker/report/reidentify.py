"""An earlier result under another identity: the frozen objects again, with whose they are now and with fresh UIDs.

What was found, measured and drawn stays as it was, byte for byte, the Tracking UIDs of the lesions among it.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from highdicom import SOPClass
from pydicom import DataElement, Dataset
from pydicom.uid import generate_uid

from services.backends.image_header import as_ct_image, identity_of
from services.backends.references import hierarchical
from services.triage.result import ResultObject
from services.worker.report import codes
from services.worker.report.naming import kin, named_by
from services.worker.report.series import local_moment
from services.worker.report.text import REISSUED
from services.worker.report.write import frozen


def reidentify(
    objects: Sequence[Dataset], *, header: Dataset, predecessors: Sequence[Dataset], now: datetime
) -> tuple[ResultObject, ...]:
    """The objects of a result, for the patient and the order of an image header.

    Every reference among them is to the new ones; a report names its predecessors. The objects given are changed.
    """
    uids: dict[str, str] = {}
    for each in objects:
        for uid in (each.SOPInstanceUID, each.SeriesInstanceUID):
            uids.setdefault(uid, generate_uid(prefix=None))
    for each in objects:
        each.walk(lambda _, element: _renew(element, uids))
        each.file_meta.MediaStorageSOPInstanceUID = each.SOPInstanceUID
        _date(each, header, now)
        _belong_to(each, header)
        if each.Modality == "SR":
            each.PredecessorDocumentsSequence = hierarchical(kin(predecessors, named_by(each)))
            _say_so(each)
    return tuple(frozen(each, header) for each in objects)


class _PatientAndStudy(SOPClass):
    """The attributes of patient and study in a header, and no others (highdicom knows which those are)."""

    def __init__(self, header: Dataset) -> None:
        Dataset.__init__(self)
        self.copy_patient_and_study_information(as_ct_image(header))


def _renew(element: DataElement, uids: dict[str, str]) -> None:
    if element.VR == "UI" and isinstance(element.value, str):
        element.value = uids.get(element.value, element.value)


def _date(result: Dataset, header: Dataset, now: datetime) -> None:
    date, time = local_moment(header, now)
    for prefix in ("Series", "Content", "InstanceCreation", "PresentationCreation"):
        if f"{prefix}Date" in result:
            setattr(result, f"{prefix}Date", date)
            setattr(result, f"{prefix}Time", time)


def _belong_to(result: Dataset, header: Dataset) -> None:
    for element in _PatientAndStudy(result):
        del result[element.tag]
    result.update(_PatientAndStudy(identity_of(header)))


def _say_so(report: Dataset) -> None:
    for item in _items(report):
        if item.get("ValueType") == "TEXT" and item.ConceptNameCodeSequence[0].CodeValue == codes.COMMENT.value:
            lines = [line for line in item.TextValue.splitlines() if line != REISSUED]
            item.TextValue = "\n".join([*lines, REISSUED])


def _items(container: Dataset) -> Iterator[Dataset]:
    for item in container.get("ContentSequence", ()):
        yield item
        yield from _items(item)
