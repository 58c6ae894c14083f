"""What the pixels of a series may tell of the patient, by its headers; they are never changed (PS3.15 E.3.1, E.3.2)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pydicom import Dataset

from services.triage.errors import Reason
from services.triage.training import BURNED_IN, ImageFacts, face_in, text_in

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Risks:
    """Of one series: the worst of the text in its pixels, and of a face; None: nothing, so far as headers tell."""

    text: Reason | None
    face: Reason | None


def risks_of(headers: Sequence[Dataset], *, named: Collection[str]) -> Risks:
    """What can be said of a series. named: modalities asked for."""
    images = [_facts(header) for header in headers]
    return Risks(text=_text({_kind(header) for header in headers}, images, named), face=face_in(images))


def _text(kinds: Collection[str], images: Sequence[ImageFacts], named: Collection[str]) -> Reason | None:
    found = text_in(images)
    if found == BURNED_IN:
        return found
    if unnamed := sorted((DRAWS_NAMES & set(kinds)) - set(named)):
        return Reason(code=NAMED_ONLY.code, text=f"{', '.join(unnamed)}: {NAMED_ONLY.text}")
    # who named the modality has looked; only what the header itself says is burned in still counts
    return None if set(kinds) <= set(named) else found


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
