"""The coded concepts of a result (PS3.16), each said once."""

from pydicom.sr.coding import Code

from services.triage.finding import Outcome
from services.triage.model import Code as ModelCode

ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")
# not Neoplasm: nobody has proven it
LESION = Code("52988006", "SCT", "Lesion")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
REPORT = Code("126000", "DCM", "Imaging Measurement Report")
OF_INTEREST = Code("113000", "DCM", "Of Interest")
PROCESSED_IMAGE = Code("121322", "DCM", "Source image for image processing operation")

VOLUME = Code("118565006", "SCT", "Volume")
LONG_AXIS = Code("103339001", "SCT", "Long axis")
SHORT_AXIS = Code("103340004", "SCT", "Short axis")
ATTENUATION = Code("112031", "DCM", "Attenuation Coefficient")
MEAN = Code("373098007", "SCT", "Mean")
CERTAINTY = Code("111012", "DCM", "Certainty of Finding")
MM = Code("mm", "UCUM", "millimeter")
MM3 = Code("mm3", "UCUM", "cubic millimeter")
HOUNSFIELD = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
PERCENT = Code("%", "UCUM", "Percent")
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
FINDINGS_SUMMARY = Code("111017", "DCM", "CAD Processing and Findings Summary")
SUMMARY_OF_ANALYSES = Code("111065", "DCM", "Summary of Analyses")
PRIORITY = Code("260870009", "SCT", "Priority")
URGENT = Code("103391001", "SCT", "Urgent Procedure")
COMMENT = Code("121106", "DCM", "Comment")

PRESENT = Code("52101004", "SCT", "Present")
UNDETERMINED = Code("373068000", "SCT", "Undetermined")
ABSENT = Code("272519000", "SCT", "Absent")

_WITH_FINDINGS = Code("111242", "DCM", "All algorithms succeeded; with findings")
_WITHOUT_FINDINGS = Code("111241", "DCM", "All algorithms succeeded; without findings")
_NONE_SUCCEEDED = Code("111245", "DCM", "No algorithms succeeded; without findings")
FINDINGS_SUMMARIES = {
    Outcome.FOUND: _WITH_FINDINGS,
    Outcome.EQUIVOCAL: _WITH_FINDINGS,
    Outcome.NOTHING_FOUND: _WITHOUT_FINDINGS,
    Outcome.FAILED: _NONE_SUCCEEDED,
    Outcome.NOT_ANALYSED: _NONE_SUCCEEDED,
}
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


def of_model(code: ModelCode) -> Code:
    """A code of a model's metadata."""
    return Code(code.value, code.scheme, code.meaning)
