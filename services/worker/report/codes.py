"""The coded concepts of a result (PS3.16), each said once."""

from pydicom.sr.coding import Code

from services.triage import concepts
from services.triage.finding import Outcome
from services.triage.lesion import Lesion as FoundLesion
from services.triage.model import Code as ModelCode
from services.triage.model import Model


def of_model(code: ModelCode) -> Code:
    """A code of a model's metadata, or of `triage.concepts`."""
    return Code(code.value, code.scheme, code.meaning)


def category_of(lesion: FoundLesion, model: Model) -> Code:
    """Segmented Property Category: of the lesion's class, or that of every lesion (CID 7150)."""
    told = model.class_of(lesion.class_value)
    return of_model(told.category) if told and told.category else ABNORMAL_STRUCTURE


def type_of(lesion: FoundLesion, model: Model) -> Code:
    """Segmented Property Type and Finding: of the lesion's class, or that of every lesion (CID 7159)."""
    told = model.class_of(lesion.class_value)
    return of_model(told.type) if told and told.type else LESION


def site_of(lesion: FoundLesion, model: Model) -> Code:
    """Finding Site and Anatomic Region: the organ that the lesion lies in, or the model's region."""
    return of_model(model.region_of(lesion.organ))


ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")
LESION = of_model(concepts.LESION)
ARTIFICIAL_INTELLIGENCE = of_model(concepts.ARTIFICIAL_INTELLIGENCE)
REPORT = of_model(concepts.REPORT)
OF_INTEREST = Code("113000", "DCM", "Of Interest")
PROCESSED_IMAGE = Code("121322", "DCM", "Source image for image processing operation")

VOLUME = of_model(concepts.VOLUME)
LONG_AXIS = of_model(concepts.LONG_AXIS)
SHORT_AXIS = of_model(concepts.SHORT_AXIS)
ATTENUATION = Code("112031", "DCM", "Attenuation Coefficient")
MEAN = Code("373098007", "SCT", "Mean")
MINIMUM = Code("255605001", "SCT", "Minimum")
MAXIMUM = Code("56851009", "SCT", "Maximum")
CERTAINTY = of_model(concepts.CERTAINTY)
MM = of_model(concepts.MM)
MM3 = of_model(concepts.MM3)
HOUNSFIELD = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
PERCENT = of_model(concepts.PERCENT)
PIXELS = Code("{pixels}", "UCUM", "Pixels")

ILLUSTRATION = Code("121200", "DCM", "Illustration of ROI")
SOURCE_SERIES = Code("121232", "DCM", "Source series for segmentation")
IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")

SOURCE = Code("260753009", "SCT", "Source")
MODALITY = Code("121139", "DCM", "Modality")
FRAME_OF_REFERENCE = Code("112227", "DCM", "Frame of Reference UID")
PIXEL_ROWS = Code("110910", "DCM", "Pixel Data Rows")
PIXEL_COLUMNS = Code("110911", "DCM", "Pixel Data Columns")

QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
FINDINGS_SUMMARY = of_model(concepts.FINDINGS_SUMMARY)
SUMMARY_OF_ANALYSES = Code("111065", "DCM", "Summary of Analyses")
PRIORITY = of_model(concepts.PRIORITY)
URGENT = of_model(concepts.URGENT)
COMMENT = Code("121106", "DCM", "Comment")

PRESENT = Code("52101004", "SCT", "Present")
UNDETERMINED = Code("373068000", "SCT", "Undetermined")
ABSENT = Code("272519000", "SCT", "Absent")

FINDINGS_SUMMARIES = {outcome: of_model(code) for outcome, code in concepts.FINDINGS_SUMMARIES.items()}
_SUCCEEDED = Code("111222", "DCM", "Succeeded")
ANALYSES = {
    Outcome.FOUND: _SUCCEEDED,
    Outcome.EQUIVOCAL: _SUCCEEDED,
    Outcome.NOTHING_FOUND: _SUCCEEDED,
    Outcome.FAILED: Code("111224", "DCM", "Failed"),
    Outcome.NOT_ANALYSED: Code("111225", "DCM", "Not Attempted"),
}
LESION_PRESENCE = {Outcome.FOUND: PRESENT, Outcome.EQUIVOCAL: UNDETERMINED, Outcome.NOTHING_FOUND: ABSENT}

_PROCEDURES = {
    "CT": Code("25045-6", "LN", "CT unspecified body region"),
    "MR": Code("25056-3", "LN", "MRI unspecified body region"),
    "PT": Code("44136-0", "LN", "PET unspecified body region"),
    "NM": Code("49118-3", "LN", "NM unspecified body region"),
}
_ANY_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
_MODALITIES = {
    "CT": "Computed Tomography",
    "MR": "Magnetic Resonance",
    "PT": "Positron emission tomography",
    "NM": "Nuclear Medicine",
    "CR": "Computed Radiography",
    "DX": "Digital Radiography",
    "MG": "Mammography",
    "US": "Ultrasound",
    "XA": "X-Ray Angiography",
    "RF": "Radiofluoroscopy",
}


def procedure(modality: str) -> Code:
    """The imaging exam that is reported on, by the modality of its images (CID 100)."""
    return _PROCEDURES.get(modality, _ANY_PROCEDURE)


def modality(value: str) -> Code:
    """The modality of an image (CID 29)."""
    return Code(value, "DCM", _MODALITIES.get(value, value))
