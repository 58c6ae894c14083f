"""The document around the tree: a Comprehensive 3D SR (PS3.3 A.35.13) of TID 1500, frozen as it is written."""

from collections.abc import Iterator

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian, generate_uid

from services import __version__
from services.backends.freezing import freeze
from services.backends.image_header import TYPE_2, identity_of, name_patient
from services.backends.references import hierarchical
from services.backends.verdict_report import codes
from services.backends.verdict_report.items import container, data_set
from services.backends.verdict_report.subject import Reference, Subject, Verification
from services.backends.verdict_report.tree import content_of, pn
from services.triage.completeness import OWN_MANUFACTURER
from services.triage.result import ResultObject

SERIES_NUMBER = 98000  # above those of the results (worker/report/series.py) and of rejection notes
DESCRIPTION = "Vigie reader's verdicts"
_PATIENT_GROUPS = (0x0010, 0x0012)
_OF_STUDY = (
    "StudyInstanceUID",
    "StudyDescription",
    "IssuerOfAccessionNumberSequence",
    "ProcedureCodeSequence",
    "AdmittingDiagnosesDescription",
)


def write_verdicts(subject: Subject) -> ResultObject:
    """The document of one reader's verdicts on one study, under its own patient and study, with fresh UIDs."""
    document = _header(subject.header)
    _tell_series(document, subject)
    _tell_root(document, subject)
    _tell_references(document, subject)
    document.file_meta = FileMetaDataset()
    document.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return freeze(document)


def _header(source: Dataset) -> Dataset:
    identity = identity_of(source)
    document = Dataset()
    document.update({element.tag: element for element in identity if element.tag.group in _PATIENT_GROUPS})
    document.update({identity[name].tag: identity[name] for name in (*TYPE_2, *_OF_STUDY) if name in identity})
    document.SpecificCharacterSet = "ISO_IR 192"
    name_patient(document, source)
    return document


def _tell_series(document: Dataset, subject: Subject) -> None:
    local = subject.now.astimezone()
    document.SOPClassUID = Comprehensive3DSRStorage
    document.SOPInstanceUID = generate_uid(prefix=None)
    document.Modality = "SR"
    document.SeriesInstanceUID = generate_uid(prefix=None)
    document.SeriesNumber = SERIES_NUMBER
    document.SeriesDescription = DESCRIPTION
    document.ReferencedPerformedProcedureStepSequence = []
    document.Manufacturer = document.ManufacturerModelName = OWN_MANUFACTURER
    document.SoftwareVersions = document.DeviceSerialNumber = __version__
    document.InstanceNumber = 1
    document.SeriesDate = document.ContentDate = document.InstanceCreationDate = local.strftime("%Y%m%d")
    document.SeriesTime = document.ContentTime = document.InstanceCreationTime = local.strftime("%H%M%S")
    document.CompletionFlag = "COMPLETE"
    document.PerformedProcedureCodeSequence = []
    _tell_verification(document, subject.reader, subject.verification)


def _tell_verification(document: Dataset, reader: str, verification: Verification | None) -> None:
    """Only who has shown who they are verifies (PS3.3 C.17.2)."""
    document.VerificationFlag = "UNVERIFIED" if verification is None else "VERIFIED"
    if verification is not None:
        document.VerifyingObserverSequence = [
            data_set(
                VerifyingObserverName=pn(reader),
                VerifyingObserverIdentificationCodeSequence=[],
                VerifyingOrganization=verification.organization,
                VerificationDateTime=verification.at.astimezone().strftime("%Y%m%d%H%M%S"),
            )
        ]


def _tell_root(document: Dataset, subject: Subject) -> None:
    root = container(codes.TITLE, content_of(subject), template="1500")
    del root.RelationshipType
    document.update(root)
    document.CodingSchemeIdentificationSequence = [
        data_set(
            CodingSchemeDesignator=codes.SCHEME,
            CodingSchemeUID=codes.SCHEME_UID,
            CodingSchemeName=codes.SCHEME_NAME,
            CodingSchemeResponsibleOrganization=OWN_MANUFACTURER,
        )
    ]


def _tell_references(document: Dataset, subject: Subject) -> None:
    study = str(document.StudyInstanceUID)
    if subject.predecessor is not None:
        document.PredecessorDocumentsSequence = hierarchical([_named(subject.predecessor, study)])
    known = {**subject.stored}
    for one in subject.assessed.values():
        known |= {each.sop_instance_uid: each for each in (one.report, one.segmentation) if each is not None}
    if used := [_named(known[uid], study) for uid in dict.fromkeys(_referenced(document.ContentSequence))]:
        document.CurrentRequestedProcedureEvidenceSequence = hierarchical(used)


def _referenced(items: list[Dataset]) -> Iterator[str]:
    for item in items:
        for each in item.get("ReferencedSOPSequence", []):
            yield str(each.ReferencedSOPInstanceUID)
        yield from _referenced(item.get("ContentSequence", []))


def _named(one: Reference, study_instance_uid: str) -> Dataset:
    return data_set(
        StudyInstanceUID=study_instance_uid,
        SeriesInstanceUID=one.series_instance_uid,
        SOPClassUID=one.sop_class_uid,
        SOPInstanceUID=one.sop_instance_uid,
    )
