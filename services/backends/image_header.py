"""The headers of a study as our objects take them over: every type 2 attribute there, every text in UTF-8."""

import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path

from pydicom import DataElement, Dataset, dcmread
from pydicom.errors import BytesLengthException
from pydicom.tag import BaseTag
from pydicom.uid import CTImageStorage
from pydicom.valuerep import DA, TM, PersonName

from services.triage.study import Instance, StudyAttributes

PathOf = Callable[[str], Path]

# Type 2 in the Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1): written empty when the source has none.
TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
CODE_STRING = re.compile(r"[A-Z0-9_ ]{1,16}")
DATE = re.compile(r"[0-9]{8}")
TIME = re.compile(r"[0-9]{2}([0-9]{2}([0-9]{2}(\.[0-9]{1,6})?)?)?")
# Body parts (PS3.16 Annex L) that have no side; of others, and of none, a reader must be told that it is not known.
UNPAIRED = frozenset(
    {"ABDOMEN", "ABDOMENPELVIS", "BRAIN", "CHEST", "CHESTABDOMEN", "CHESTABDPELVIS", "HEAD", "HEADNECK"}
)
UNPAIRED |= {
    "HEART",
    "LIVER",
    "MEDIASTINUM",
    "NECK",
    "NECKCHEST",
    "PANCREAS",
    "PELVIS",
    "PROSTATE",
    "SPINE",
    "WHOLEBODY",
}
UTF_8 = "ISO_IR 192"
# Functional groups of a multi-frame object, overlays and pixels are no part of who and when.
LAST_GROUP = 0x4FFF


ReadHeader = Callable[[Path], Dataset]
"""See `read_header`."""


def read_header(path: Path) -> Dataset:
    """The data set of a file without its pixels."""
    return dcmread(path, stop_before_pixels=True, force=True)


def header_of(image: Instance, path_of: PathOf, read: ReadHeader = read_header) -> Dataset:
    """The data set of an image without its pixels, with the patient data that hold. path_of: the file of a digest.

    Of an image that is not kept here any more, what the store knows: patient, study and the image's UIDs.
    """
    try:
        header = read(path_of(image.digest))
    except FileNotFoundError:
        return _as_stored(image)
    if image.as_received is not None:
        correct_patient(header, image.study)
    return header


def _as_stored(image: Instance) -> Dataset:
    told = {
        "SpecificCharacterSet": UTF_8,
        "SOPClassUID": image.header.sop_class_uid,
        "SOPInstanceUID": image.header.sop_instance_uid,
        "SeriesInstanceUID": image.header.series_instance_uid,
        "StudyInstanceUID": image.header.study_instance_uid,
        "Modality": image.header.modality,
        "Manufacturer": image.header.manufacturer,
        "SeriesNumber": image.header.series_number,
        "InstanceNumber": image.header.instance_number,
        "StudyDate": image.study.study_date,
        "StudyTime": image.study.study_time,
        "StudyID": image.study.study_id,
        "StudyDescription": image.study.study_description,
        "AccessionNumber": image.study.accession_number,
        "PatientAge": image.study.patient_age,
    }
    header = Dataset()
    for keyword, value in told.items():
        setattr(header, keyword, value)
    correct_patient(header, image.study)
    return header


def read_headers(paths: Sequence[Path]) -> list[Dataset]:
    """The data sets of files, without pixels."""
    return [read_header(path) for path in paths]


def identity_of(header: Dataset) -> Dataset:
    """A copy of an image header that a result can take patient, study and equipment from; the original stays as it is.

    Text is decoded from the header's character set, to be written as UTF-8. Absent type 2 attributes, and values that
    the Standard forbids, are empty. Private attributes, functional groups, overlays and pixels are left out.
    The patient's name is left empty, for highdicom prints names that it finds odd: `name_patient` writes it.
    """
    identity = _decoded(header)
    for keyword in TYPE_2:
        value = identity.get(keyword)
        allowed = ALLOWED.get(keyword)
        if value is None or (allowed and not allowed(str(value))):
            setattr(identity, keyword, "")
    identity.PatientName = ""
    return identity


def readable(header: Dataset, key: BaseTag | str) -> DataElement | None:
    """An element of a header; None where it is absent, or its bytes are no value of its VR."""
    if key not in header:
        return None
    try:
        element = header[key]
    except (ValueError, BytesLengthException):
        return None
    if element.VR in ("DS", "IS"):  # pydicom leaves text that is no number as it is
        values = element.value if element.VM > 1 else [element.value]
        return None if any(isinstance(value, str) and value for value in values) else element
    return element


def correct_patient(header: Dataset, study: StudyAttributes) -> None:
    """Write the patient data of a study into an image header, in place of its own, and nothing else.

    What tells more about an issuer goes when the issuer does (IssuerOfPatientIDQualifiersSequence).
    """
    header.decode()
    header.SpecificCharacterSet = UTF_8
    if str(header.get("IssuerOfPatientID") or "") != study.issuer_of_patient_id:
        header.pop("IssuerOfPatientIDQualifiersSequence", None)
        header.IssuerOfPatientID = study.issuer_of_patient_id
    header.PatientID = study.patient_id
    header.PatientName = study.patient_name
    header.PatientBirthDate = study.patient_birth_date
    header.PatientSex = study.patient_sex
    header.walk(_spell_in_utf_8)


def name_patient(result: Dataset, header: Dataset) -> None:
    """Write the patient's name of an image header into a result."""
    result.PatientName = _decoded(header).get("PatientName") or ""


def as_ct_image(header: Dataset) -> Dataset:
    """The same header with the SOP class of a CT image: highdicom finds patient and study in few others.

    Their modules are the same in every image (PS3.3 A.1.4).
    """
    stand_in = Dataset()
    stand_in.update(header)
    del stand_in.SOPClassUID  # else the value would change in the element that both share
    stand_in.SOPClassUID = CTImageStorage
    return stand_in


def tell_body_part(result: Dataset, header: Dataset) -> None:
    """Write the body part of an image header, and the side where one must be told (PS3.3 C.7.3.1): empty if unknown."""
    body_part, side = (str(header.get(keyword) or "").upper() for keyword in ("BodyPartExamined", "Laterality"))
    if CODE_STRING.fullmatch(body_part):
        result.BodyPartExamined = body_part
    if side in ("L", "R") or body_part not in UNPAIRED:
        result.Laterality = side if side in ("L", "R") else ""


def _is_date(text: str) -> bool:
    """Whether a calendar has that day: scanners and anonymisers write 19500000 where they know only the year."""
    return DATE.fullmatch(text) is not None and _is_one(DA, text)


def _is_time(text: str) -> bool:
    return TIME.fullmatch(text) is not None and _is_one(TM, text)


def _is_one(kind: type[DA] | type[TM], text: str) -> bool:
    try:
        return bool(kind(text))
    except ValueError:
        return False


ALLOWED: dict[str, Callable[[str], bool]] = {
    "PatientSex": frozenset("MFO").__contains__,
    "PatientBirthDate": _is_date,
    "StudyDate": _is_date,
    "StudyTime": _is_time,
}


def _spell_in_utf_8(_: Dataset, element: DataElement) -> None:
    """A name keeps the bytes that it was read from, and would be decoded from them again."""
    if element.VR == "PN" and element.value:
        names = element.value if element.VM > 1 else [element.value]
        element.value = [PersonName(str(name).encode(), ["utf8"]) for name in names]


def _decoded(header: Dataset) -> Dataset:
    public = Dataset()
    for tag in header.keys():  # noqa: SIM118 - a data set iterates over its elements, and would parse them all
        if not tag.is_private and tag.group <= LAST_GROUP and (element := readable(header, tag)) is not None:
            public[tag] = element
    decoded = deepcopy(public)
    decoded.decode()
    decoded.SpecificCharacterSet = UTF_8
    return decoded
