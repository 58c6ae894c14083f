"""What the pixels of a series may tell of the patient, by its headers; they are never changed (PS3.15 E.3.1, E.3.2)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pydicom import Dataset

from services.backends.files.facts import facts_of
from services.triage.errors import Reason
from services.triage.training import BURNED_IN, ImageFacts, face_in, text_in

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
    images = [facts_of(header) for header in headers]
    return Risks(text=_text({_kind(header) for header in headers}, images, named), face=face_in(images))


def _text(kinds: Collection[str], images: Sequence[ImageFacts], named: Collection[str]) -> Reason | None:
    if unnamed := sorted((DRAWS_NAMES & set(kinds)) - set(named)):
        return Reason(code=NAMED_ONLY.code, text=f"{', '.join(unnamed)}: {NAMED_ONLY.text}")
    found = text_in(images)
    # who named the modality has looked; only what the header itself says is burned in still counts
    return None if found != BURNED_IN and set(kinds) <= set(named) else found


def _kind(header: Dataset) -> str:
    if str(header.get("SOPClassUID", "")).startswith(SECONDARY_CAPTURE):
        return "SC"
    return str(header.get("Modality", ""))
