"""What a modality and a PACS send of a study: MPPS (PS3.4 F.7.2) and IAN (PS3.4 R.3.2)."""

from collections.abc import Sequence

from pydicom import Dataset
from pydicom.uid import CTImageStorage, generate_uid


def begun(study_instance_uid: str, **attributes: object) -> Dataset:
    """The attributes of an N-CREATE of a step IN PROGRESS."""
    scheduled = Dataset()
    scheduled.StudyInstanceUID = study_instance_uid
    step = Dataset()
    step.ScheduledStepAttributesSequence = [scheduled]
    step.PatientName, step.PatientID = "Doe^Jane", "P1"
    step.PerformedProcedureStepID = "1"
    step.PerformedStationAETitle = "CT1"
    step.PerformedProcedureStepStartDate, step.PerformedProcedureStepStartTime = "20260314", "101500"
    step.PerformedProcedureStepStatus = "IN PROGRESS"
    step.Modality = "CT"
    step.PerformedSeriesSequence = []
    for keyword, value in attributes.items():
        setattr(step, keyword, value)
    return step


def ended(sop_instance_uids: Sequence[str], *, status: str | None = "COMPLETED") -> Dataset:
    """The changes of an N-SET that names these images."""
    series = Dataset()
    series.SeriesInstanceUID = generate_uid()
    series.ReferencedImageSequence = [_reference(uid) for uid in sop_instance_uids]
    series.ReferencedNonImageCompositeSOPInstanceSequence = []
    step = Dataset()
    if status is not None:
        step.PerformedProcedureStepStatus = status
    step.PerformedSeriesSequence = [series]
    return step


def available(study_instance_uid: str, sop_instance_uids: Sequence[str]) -> Dataset:
    """The attributes of an IAN of these images, all ONLINE."""
    series = Dataset()
    series.SeriesInstanceUID = generate_uid()
    series.ReferencedSOPSequence = [_reference(uid) for uid in sop_instance_uids]
    for item in series.ReferencedSOPSequence:
        item.InstanceAvailability, item.RetrieveAETitle = "ONLINE", "PACS"
    told = Dataset()
    told.ReferencedPerformedProcedureStepSequence = []
    told.StudyInstanceUID = study_instance_uid
    told.ReferencedSeriesSequence = [series]
    return told


def _reference(sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, sop_instance_uid
    return item
