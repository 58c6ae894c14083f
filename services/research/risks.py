"""What the pixels of a series may tell of the patient, by its headers; they are never changed (PS3.15 E.3.1, E.3.2)."""

from collections.abc import Collection, Sequence

from pydicom import Dataset

from services.triage.errors import Reason
from services.triage.training import BURNED_IN, FACE, MAY_BE_A_FACE, MAY_BE_BURNED_IN, ImageFacts, exclusion

TAGS = (
    "SOPClassUID",
    "Modality",
    "ImageType",
    "BurnedInAnnotation",
    "RecognizableVisualFeatures",
    "BodyPartExamined",
    "SeriesDescription",
    "StudyDescription",
    "ProtocolName",
    "ImagePositionPatient",
)

DRAWS_NAMES = frozenset({"US", "IVUS", "XA", "RF", "ES", "GM", "OP", "OT", "XC", "DOC", "SC"})
"""Modalities whose machines write the patient's name into the pixels as a matter of course."""

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
NAMED_ONLY = Reason(
    code="modality_not_named", text="machines of this kind write names into the pixels: it must be asked for by name"
)
KEPT_OUT = (BURNED_IN.code, MAY_BE_BURNED_IN.code, NAMED_ONLY.code)
"""Codes that keep a series out unless it is asked for; the others are told in the manifest."""

FACES = (FACE.code, MAY_BE_A_FACE.code)


def risk_of(headers: Sequence[Dataset], *, named: Collection[str]) -> Reason | None:
    """The worst that can be said of a series; None: nothing, so far as headers tell. named: modalities asked for."""
    kinds = {_kind(header) for header in headers}
    if any(str(header.get("BurnedInAnnotation", "")) == "YES" for header in headers):
        return BURNED_IN
    if unnamed := sorted((kinds & DRAWS_NAMES) - set(named)):
        return Reason(code=NAMED_ONLY.code, text=f"{', '.join(unnamed)}: {NAMED_ONLY.text}")
    found = exclusion([_facts(header) for header in headers])
    # who named the modality has looked; only what the header itself says is burned in still counts
    return None if found == MAY_BE_BURNED_IN and kinds <= set(named) else found


def _kind(header: Dataset) -> str:
    if str(header.get("SOPClassUID", "")).startswith(SECONDARY_CAPTURE):
        return "SC"
    return str(header.get("Modality", ""))


def _facts(header: Dataset) -> ImageFacts:
    position = list(header.get("ImagePositionPatient") or ())
    words = ("BodyPartExamined", "SeriesDescription", "StudyDescription", "ProtocolName")
    return ImageFacts(
        sop_class_uid=str(header.get("SOPClassUID", "")),
        modality=str(header.get("Modality", "")),
        image_type=tuple(header.get("ImageType") or ()),
        burned_in=str(header.get("BurnedInAnnotation", "")),
        recognizable=str(header.get("RecognizableVisualFeatures", "")),
        text=" ".join(str(header.get(word, "")) for word in words),
        position_mm=float(position[2]) if len(position) == 3 else None,
    )
