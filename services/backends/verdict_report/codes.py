"""The coded concepts of a document of verdicts.

PS3.16 knows agreement with *prior findings* (122775, 122776, DCM), which are those of an earlier exam, and none with
the result of a program on this one; what it has no code for is ours, in the scheme 99VIGIE.
"""

from services.triage import concepts
from services.triage.model import Code
from services.triage.verdict import Answer, RejectReason

SCHEME = "99VIGIE"
SCHEME_UID = "2.25.140058918620868065279852673597363473245"
SCHEME_NAME = "Vigie: readers' answers to AI results"


def _own(value: str, meaning: str) -> Code:
    return Code(value=value, scheme=SCHEME, meaning=meaning)


def _dcm(value: str, meaning: str) -> Code:
    return Code(value=value, scheme="DCM", meaning=meaning)


def _sct(value: str, meaning: str) -> Code:
    return Code(value=value, scheme="SCT", meaning=meaning)


LANGUAGE = _dcm("121049", "Language of Content Item and Descendants")
ENGLISH = Code(value="en-US", scheme="RFC5646", meaning="English (United States)")
OBSERVER_TYPE = _dcm("121005", "Observer Type")
PERSON = _dcm("121006", "Person")
DEVICE = _dcm("121007", "Device")
PERSON_NAME = _dcm("121008", "Person Observer Name")
DEVICE_UID = _dcm("121012", "Device Observer UID")
DEVICE_NAME = _dcm("121013", "Device Observer Name")
DEVICE_MANUFACTURER = _dcm("121014", "Device Observer Manufacturer")
DEVICE_MODEL = _dcm("121015", "Device Observer Model Name")
PROCEDURE = _dcm("121058", "Procedure reported")
IMAGING_PROCEDURE = _sct("363679005", "Imaging procedure")
MEASUREMENTS = _dcm("126010", "Imaging Measurements")
GROUP = _dcm("125007", "Measurement Group")
TRACKING_ID = _dcm("112039", "Tracking Identifier")
TRACKING_UID = _dcm("112040", "Tracking Unique Identifier")
FINDING = _dcm("121071", "Finding")
COMMENT = _dcm("121106", "Comment")
REFERENCED_SEGMENT = _dcm("121191", "Referenced Segment")
ILLUSTRATION = _dcm("121200", "Illustration of ROI")
EVALUATIONS = Code(value="C0034375", scheme="UMLS", meaning="Qualitative Evaluations")
MODEL_NAME = _dcm("111001", "Algorithm Name")
MODEL_VERSION = _dcm("111003", "Algorithm Version")

PRESENT = _sct("52101004", "Present")
ABSENT = _sct("272519000", "Absent")
UNDETERMINED = _sct("373068000", "Undetermined")

TITLE = _own("verdicts", "Reader's verdicts on an AI's result")
"""Not (126000, DCM), by which viewers take a document for one of drawn measurements (CID 7021 is extensible)."""
ANSWER = _own("answer", "Reader's answer to the AI's result")
OWN_ASSESSMENT = _own("own-assessment", "Reader's assessment before the AI's result was shown")
REASON = _own("reason", "Reason of the answer")
GIVEN_AT = _own("given-at", "When the answer was given")
RESULT = _own("result", "AI's result that is answered")
SAVED = _own("saved-by-reader", "Object that the reader saved")

ANSWERS = {
    Answer.ACCEPT: _own("accept", "Accepted"),
    Answer.REJECT: _own("reject", "Rejected"),
    Answer.MODIFY: _own("modify", "Accepted with modifications"),
    Answer.ADD: _own("add", "Missed by the AI"),
    Answer.NOT_MY_QUESTION: _own("not-my-question", "Not the reader's question"),
}
NONE_STANDS = _own("none", "No answer: all were taken back")
ASSESSMENTS = {Answer.PRESENT: PRESENT, Answer.ABSENT: ABSENT, Answer.UNSURE: UNDETERMINED}
REASONS = {
    RejectReason.VESSEL: _sct("59820001", "Blood Vessel"),
    RejectReason.NORMAL_ANATOMY: _own("normal-anatomy", "Normal anatomy"),
    RejectReason.BENIGN: _sct("30807003", "Benign"),
    RejectReason.ARTEFACT: _own("artefact", "Artifact"),
    RejectReason.DUPLICATE: _own("duplicate", "Duplicate of another lesion"),
    RejectReason.OUTSIDE_SCOPE: _own("outside-scope", "Outside the scope of the model"),
    RejectReason.MISSED: _own("missed", "A lesion was missed"),
    RejectReason.OTHER: _own("other", "Other reason"),
}
FINDINGS = {
    "lesion": concepts.LESION,
    "nodule": _sct("27925004", "Nodule"),
    "mass": _sct("4147007", "Mass"),
    "cyst": _sct("367643001", "Cyst"),
    "lymph_node": _sct("59441001", "Lymph Node"),
    "metastasis": _sct("128462008", "Metastasis"),
}
"""What a reader may call a lesion (`MarkedLesion.finding`); other words are told as they are."""
