"""A workitem as a Unified Procedure Step (PS3.3 B.26, PS3.4 table CC.2.5-3), in the DICOM JSON Model."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from pydicom import Dataset

from services.backends.store.archive import StoredInstance
from services.backends.store.workitems import Workitem
from services.gateway.dicomweb.json_model import DicomJson, dicom_json
from services.triage.finding import Outcome, two_digits
from services.triage.identity import TWO_PATIENTS
from services.triage.job import OrderPriority
from services.triage.organ import organs_only
from services.triage.study import StudyAttributes
from services.triage.workitem import PROGRESS, ProcedureStepState

UPS_PUSH = "1.2.840.10008.5.1.4.34.6.1"
"""The SOP class of every workitem (PS3.4 CC.2.5.1.3.1)."""

WORKLIST_LABEL = "Vigie review"
INTERPRETATION = ("110005", "DCM", "Interpretation")  # CID 9231
_DISCONTINUED = ("110513", "DCM", "Discontinued for unspecified reason")  # CID 9300

Source = Callable[[str, str], Sequence[StoredInstance]]
"""The instances of a series (Study and Series Instance UID) that were analysed."""

_WITHHELD = "assess before the AI's result is shown"
_WHAT = {
    Outcome.NOTHING_FOUND: "nothing found",  # a task only because its result was withheld until a moment ago
    Outcome.FOUND: "findings",
    Outcome.EQUIVOCAL: "equivocal findings",
    Outcome.NOT_ANALYSED: "not analysed: read without AI",
    Outcome.FAILED: "analysis failed: read without AI",
}
_NO_LESIONS_SOUGHT = "not analysed for lesions: read without AI"


def workitem_json(one: Workitem, root: str, source: Source | None) -> DicomJson:
    """All of a workitem but its Transaction UID; what others told of it goes before what we say.

    root: of the addresses it names. source: None where the analysed images are named by their series alone.
    """
    step = Dataset()
    _identify(step, one)
    _schedule(step, one)
    _relate(step, one)
    step.InputInformationSequence = list(_inputs(one, root, source))
    step.ProcedureStepState = one.state
    step.ProcedureStepProgressInformationSequence = []
    step.UnifiedProcedureStepPerformedProcedureSequence = []
    said = dicom_json(step) | dict(one.told)
    if one.state is ProcedureStepState.CANCELED:
        said[PROGRESS] = _canceled(one)
    return dict(sorted(said.items()))


def _identify(step: Dataset, one: Workitem) -> None:
    """SOP Common (PS3.3 C.12.1)."""
    step.SpecificCharacterSet = "ISO_IR 192"
    step.SOPClassUID, step.SOPInstanceUID = UPS_PUSH, one.uid
    step.TimezoneOffsetFromUTC = "+0000"
    step.InstanceCreationDate, step.InstanceCreationTime = f"{one.scheduled_at:%Y%m%d}", f"{one.scheduled_at:%H%M%S}"


def _schedule(step: Dataset, one: Workitem) -> None:
    """Scheduled Procedure Information (PS3.3 C.30.2)."""
    urgent = one.priority is not OrderPriority.ROUTINE or one.urgent
    step.ScheduledProcedureStepPriority = "HIGH" if urgent else "MEDIUM"
    step.ScheduledProcedureStepModificationDateTime = _date_time(one.modified_at)
    step.ScheduledProcedureStepStartDateTime = _date_time(one.scheduled_at)
    step.ProcedureStepLabel = f"Review: {_what(one)}"
    step.WorklistLabel = WORKLIST_LABEL
    step.CommentsOnTheScheduledProcedureStep = _comment(one)
    step.ScheduledWorkitemCodeSequence = [code(INTERPRETATION)]
    step.ScheduledProcessingParametersSequence = []
    step.ScheduledStationNameCodeSequence = []
    step.ScheduledStationClassCodeSequence = []
    step.ScheduledStationGeographicLocationCodeSequence = []
    step.ScheduledHumanPerformersSequence = []
    step.InputReadinessState = "READY"
    step.StudyInstanceUID = one.study.study_instance_uid


def _what(one: Workitem) -> str:
    """What there is to review, in as few words as the label of a step may have."""
    if one.withheld:
        return _WITHHELD
    return _NO_LESIONS_SOUGHT if organs_only(one.reason) else _WHAT[one.outcome]


def _comment(one: Workitem) -> str:
    """What a reader has to know before anything is opened; never that there is no disease."""
    if one.withheld:
        return f"the result of {one.model.name} {one.model.version} is withheld until a reader has assessed the study"
    if one.reason is not None:
        return f"{one.reason.text} [{one.reason.code}]"
    about = "" if one.calibrated else ", not calibrated on patients"
    score = "" if one.score is None else f"; score {two_digits(one.score)}{about}"
    return f"{one.lesion_count} lesion(s) by {one.model.name} {one.model.version}; flag {one.flag}{score}"


def _relate(step: Dataset, one: Workitem) -> None:
    """Relationship (PS3.3 C.30.3): patient, visit and order, so far as the images agree on them."""
    study = one.study
    if one.reason is not None and one.reason.code == TWO_PATIENTS:
        # nobody's system may file the study of two patients under one of them
        study = StudyAttributes(study_instance_uid=study.study_instance_uid)
    step.PatientName, step.PatientID = study.patient_name, study.patient_id
    step.IssuerOfPatientID = study.issuer_of_patient_id
    step.IssuerOfPatientIDQualifiersSequence = []
    step.OtherPatientIDsSequence = []
    step.PatientBirthDate, step.PatientSex = study.patient_birth_date, study.patient_sex
    step.AdmissionID, step.IssuerOfAdmissionIDSequence = "", []
    step.AdmittingDiagnosesDescription, step.AdmittingDiagnosesCodeSequence = "", []
    order = Dataset()
    order.StudyInstanceUID = study.study_instance_uid
    order.AccessionNumber, order.IssuerOfAccessionNumberSequence = study.accession_number, []
    order.OrderPlacerIdentifierSequence = order.OrderFillerIdentifierSequence = []
    order.RequestedProcedureID = ""
    order.RequestedProcedureDescription = study.study_description
    order.RequestedProcedureCodeSequence = []
    step.ReferencedRequestSequence = [order]
    if one.replaces is not None:
        step.ReplacedProcedureStepSequence = [_reference(UPS_PUSH, one.replaces)]


def _inputs(one: Workitem, root: str, source: Source | None) -> Iterable[Dataset]:
    """The analysed images, then the result's objects (PS3.3 table 10-3b): where they are, and which."""
    study, series = one.study.study_instance_uid, one.series_instance_uid
    if series is not None:
        images = source(study, series) if source is not None else ()
        yield _instances(root, study, series, [(each.sop_class_uid, each.sop_instance_uid) for each in images])
    for each in one.objects:
        yield _instances(root, study, each.series_instance_uid, [(each.sop_class_uid, each.sop_instance_uid)])


def _instances(root: str, study: str, series: str, references: Sequence[tuple[str, str]]) -> Dataset:
    item, where = Dataset(), Dataset()
    item.TypeOfInstances = "DICOM"
    item.StudyInstanceUID, item.SeriesInstanceUID = study, series
    item.ReferencedSOPSequence = [_reference(*each) for each in references]
    where.RetrieveURL = f"{root}/studies/{study}/series/{series}"
    item.WADORSRetrievalSequence = [where]
    return item


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return item


def _canceled(one: Workitem) -> dict[str, Any]:
    """How it was canceled: as the performer told it, completed by what we know (PS3.4 CC.2.5.1.1, state X)."""
    ours = Dataset()
    if one.canceled_at is not None:
        ours.ProcedureStepCancellationDateTime = _date_time(one.canceled_at)
    if one.cancel_reason:
        ours.ReasonForCancellation = one.cancel_reason
    ours.ProcedureStepDiscontinuationReasonCodeSequence = [code(_DISCONTINUED)]
    told = one.told.get(PROGRESS, {}).get("Value") or [{}]
    return {"vr": "SQ", "Value": [dict(sorted((dicom_json(ours) | told[0]).items())), *told[1:]]}


def code(triplet: tuple[str, str, str]) -> Dataset:
    """An item of a code sequence (PS3.3 8.8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = triplet
    return item


def _date_time(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y%m%d%H%M%S}"
