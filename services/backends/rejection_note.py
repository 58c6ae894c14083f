"""The rejection note of a recalled result: a Key Object Selection that tells an archive to hide it.

IHE RAD TF-3 4.66.4.1.3 (IOCM), PS3.3 A.35.4, PS3.16 TID 2010 with the title (113001, DCM, "Rejected for Quality
Reasons"): readers no longer see the objects, and who must look into it still can. Written with pydicom alone: the desk,
where results are recalled, has no report writers.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, KeyObjectSelectionDocumentStorage, generate_uid

from services import __version__
from services.backends.freezing import freeze
from services.backends.references import hierarchical
from services.triage.completeness import OWN_MANUFACTURER
from services.triage.model import ModelIdentity
from services.triage.result import ObjectKind, ResultObject, kind_of

SERIES_NUMBER = 97000  # above those of the results (worker/report/series.py)
REJECTED = ("113001", "DCM", "Rejected for Quality Reasons")
DESCRIPTION = ("113012", "DCM", "Key Object Description")
_PATIENT_GROUPS = (0x0010, 0x0012)
_OF_STUDY = (
    "SpecificCharacterSet",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
    "ProcedureCodeSequence",
    "AdmittingDiagnosesDescription",
)
# Of our objects; the others are no images (PS3.3 C.17.3). A label map is one, but dcmtk takes its class for none, and
# could not read a note that calls it so; as a composite object any reader takes it.
_IMAGES = frozenset({ObjectKind.SEG, ObjectKind.SC})


def write_rejection_note(
    objects: Sequence[Dataset], *, model: ModelIdentity, reason: str, now: datetime
) -> ResultObject:
    """A note that rejects all objects of one result, under their own patient and study.

    objects: their headers, at least one. reason: in the words of who recalled it.
    """
    note = _header(objects[0])
    _tell_series(note, model, now)
    note.CurrentRequestedProcedureEvidenceSequence = hierarchical(objects)
    note.ValueType = "CONTAINER"
    note.ConceptNameCodeSequence = [_code(REJECTED)]
    note.ContinuityOfContent = "SEPARATE"
    note.ContentTemplateSequence = [_data_set(MappingResource="DCMR", TemplateIdentifier="2010")]
    text = f"Recalled: {reason} (Vigie {__version__}, model {model.name} {model.version})"
    note.ContentSequence = [
        _data_set(
            RelationshipType="CONTAINS",
            ValueType="TEXT",
            ConceptNameCodeSequence=[_code(DESCRIPTION)],
            TextValue=text,
        ),
        *map(_reference, objects),
    ]
    note.file_meta = FileMetaDataset()
    note.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return freeze(note)


def _header(source: Dataset) -> Dataset:
    note = Dataset()
    note.update({element.tag: element for element in source if element.tag.group in _PATIENT_GROUPS})
    note.update({source[keyword].tag: source[keyword] for keyword in _OF_STUDY if keyword in source})
    return note


def _tell_series(note: Dataset, model: ModelIdentity, now: datetime) -> None:
    local = now.astimezone()
    note.SOPClassUID = KeyObjectSelectionDocumentStorage
    note.SOPInstanceUID = generate_uid(prefix=None)
    note.Modality = "KO"
    note.SeriesInstanceUID = generate_uid(prefix=None)
    note.SeriesNumber = SERIES_NUMBER
    note.SeriesDescription = f"Vigie rejection note {model.name} {model.version}"[:64]
    note.ReferencedPerformedProcedureStepSequence = []
    note.Manufacturer = OWN_MANUFACTURER
    note.ManufacturerModelName = model.name
    note.SoftwareVersions = __version__
    note.InstanceNumber = 1
    note.SeriesDate = note.ContentDate = note.InstanceCreationDate = local.strftime("%Y%m%d")
    note.SeriesTime = note.ContentTime = note.InstanceCreationTime = local.strftime("%H%M%S")


def _reference(rejected: Dataset) -> Dataset:
    reference = _data_set(ReferencedSOPClassUID=rejected.SOPClassUID, ReferencedSOPInstanceUID=rejected.SOPInstanceUID)
    return _data_set(
        RelationshipType="CONTAINS",
        ValueType="IMAGE" if kind_of(rejected.SOPClassUID) in _IMAGES else "COMPOSITE",
        ReferencedSOPSequence=[reference],
    )


def _code(code: tuple[str, str, str]) -> Dataset:
    value, scheme, meaning = code
    return _data_set(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _data_set(**attributes: Any) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made
