"""The codes that messages use: standard ones, and those of a site instead where its file of receivers names them."""

from collections.abc import Mapping
from enum import StrEnum

from services.triage import concepts
from services.triage.finding import Flag
from services.triage.model import Code

OWN_SCHEME = "99VIGIE"


class Concept(StrEnum):
    """What a code stands for; the keys of `codes` in a file of receivers."""

    REPORT = "report"
    STUDY = "study"
    OUTCOME = "outcome"
    PRIORITY = "priority"
    IMPRESSION = "impression"
    CERTAINTY = "certainty"
    SPREAD = "spread"
    FINDING = "finding"
    TRACKING = "tracking"
    VOLUME = "volume"
    LONG_AXIS = "long_axis"
    SHORT_AXIS = "short_axis"


STANDARD: Mapping[Concept, Code] = {
    Concept.REPORT: concepts.REPORT,
    # as IHE RAD-128 refers to a study
    Concept.STUDY: Code(value="113014", scheme="DCM", meaning="DICOM Study"),
    Concept.OUTCOME: concepts.FINDINGS_SUMMARY,
    Concept.PRIORITY: concepts.PRIORITY,
    Concept.IMPRESSION: Code(value="19005-8", scheme="LN", meaning="Radiology Imaging study [Impression]"),
    Concept.CERTAINTY: concepts.CERTAINTY,
    # no scheme has a code for it; the report has Minimum and Maximum, which alone do not say of what
    Concept.SPREAD: Code(value="score_over_runs", scheme=OWN_SCHEME, meaning="Certainty of Finding over mirrored runs"),
    Concept.FINDING: Code(value="121071", scheme="DCM", meaning="Finding"),
    Concept.TRACKING: Code(value="112040", scheme="DCM", meaning="Tracking Unique Identifier"),
    Concept.VOLUME: concepts.VOLUME,
    Concept.LONG_AXIS: concepts.LONG_AXIS,
    Concept.SHORT_AXIS: concepts.SHORT_AXIS,
}

SYSTEMS: Mapping[str, str] = {
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "LN": "http://loinc.org",
    "SCT": "http://snomed.info/sct",
    "RADLEX": "http://radlex.org",
    "UCUM": "http://unitsofmeasure.org",
}
"""What FHIR calls the coding schemes (PS3.16 table 8-1)."""


def urgency(flag: Flag) -> Code:
    """The priority of a flag, as the report codes it: only `urgent` is above routine."""
    return concepts.URGENT if flag is Flag.URGENT else concepts.ROUTINE


def parse_code(text: str) -> Code:
    """`value^meaning^scheme`, as HL7 writes a code (CE). Raises ValueError."""
    match [part.strip() for part in text.split("^")]:
        case [value, meaning, scheme] if value and meaning and scheme:
            return Code(value=value, scheme=scheme, meaning=meaning)
    raise ValueError(f"'{text}' is no code: write value^meaning^scheme")
