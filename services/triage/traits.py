"""What routing reads off a series: words, orientation, thickness, extent, and whether it can be a volume at all."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from services.triage.completeness import is_routable
from services.triage.errors import NotAnalysed, Reason
from services.triage.geometry import normal_of, regular_grid, stack_of
from services.triage.study import InstanceHeader, Series, Stack

# How far (degrees) a slice's normal may lean from a body axis and still be called by its name.
ORIENTATION_TOLERANCE_DEGREES = 30.0
GRAYSCALE = frozenset({"", "MONOCHROME1", "MONOCHROME2"})
# Words of Image Type (PS3.3 C.8.2.1.1.1, C.8.16.1) and of descriptions that tell an image that is no slice of a volume.
NO_SLICE_TYPE = re.compile(
    r"LOCALIZER|SCOUT|TOPOGRAM|MIP|MAX_IP|MIN_IP|MINIP|PROJECTION|VOLUME_REND|VRT|SSD|SCREEN|SURFACE|CURVED|PERFUSION"
)
NO_SLICE_WORDS = re.compile(
    r"\b(scouts?|topogram\w*|locali[sz]er|surview|scanogram|min ?ip|mip|vrt|volume rendering|screen (save|shot|capture)"
    r"|smart ?prep|bolus track\w*|monitoring|premonitoring|dose (report|info\w*|record)|patient protocol)\b"
)


class Orientation(StrEnum):
    """How the slices of a series lie in the patient."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"
    OBLIQUE = "oblique"
    MIXED = "mixed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Traits:
    """A series as routing sees it.

    words: of series description and protocol name, folded. thickness_mm: the greater of the slices' thickness and of
    the distance between them, None if neither is told. extent_mm: length covered along the normal.
    regular: the headers give one regular grid. never: why it is no stack of slices at all.
    """

    series: Series
    words: str
    orientation: Orientation
    slices: int
    thickness_mm: float | None
    extent_mm: float
    original: bool
    primary: bool
    regular: bool
    never: Reason | None


def fold(*texts: str) -> str:
    """Lower case, accents taken off, anything that is neither letter nor digit made one space."""
    # twice: some letters have a capital only once they are taken apart, and some come apart only in lower case
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", " ".join(texts)).lower())
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return re.sub(r"[\W_]+", " ", letters).strip()


def traits_of(series: Series) -> Traits:
    """Read the traits of a series off its headers."""
    headers = [instance.header for instance in series.instances if is_routable(instance.header)]
    words = fold(series.header.series_description, series.header.protocol_name)
    slices = sum(max(header.number_of_frames, 1) for header in headers)
    stack = _stack(headers)
    told = (stack.gap_mm if stack else None, *(header.slice_thickness_mm for header in headers))
    thicknesses = [thickness for thickness in told if thickness is not None and thickness > 0]
    types = Counter(header.image_type[:2] for header in headers).most_common(1)
    image_type = types[0][0] if types else ()
    thickness = max(thicknesses, default=None)
    # frames whose places are not told may all be at one
    guessed_mm = 0.0 if _are_multi_frame(headers) else slices * (thickness or 0.0)
    return Traits(
        series=series,
        words=words,
        orientation=_orientation(headers),
        slices=slices,
        thickness_mm=thickness,
        extent_mm=stack.length_mm if stack else guessed_mm,
        original="ORIGINAL" in image_type,
        primary="SECONDARY" not in image_type,
        regular=_is_regular(headers),
        never=_why_never(headers, words),
    )


def _why_never(headers: Sequence[InstanceHeader], words: str) -> Reason | None:
    if not headers:
        return Reason(code="not_an_image", text="no image that a model could look at")
    first = headers[0]
    if any(header.photometric_interpretation not in GRAYSCALE for header in headers):
        return Reason(code="not_grayscale", text="images have colours")
    parts = {part.replace(" ", "_").upper() for header in headers for part in header.image_type[2:]}
    told = next((part for part in sorted(parts) if NO_SLICE_TYPE.search(part)), None)
    if told is not None:
        return Reason(code="not_slices", text=f"image type {told[:32]}")
    word = NO_SLICE_WORDS.search(words)
    if word is not None:
        return Reason(code="not_slices", text=f"described as {word.group()!r}")
    if first.sop_class_uid.startswith("1.2.840.10008.5.1.4.1.1.7"):
        return Reason(code="secondary_capture", text="a secondary capture has no place in the patient")
    return None


def _orientation(headers: Sequence[InstanceHeader]) -> Orientation:
    told = {header.image_orientation_patient for header in headers}
    kinds = {_lie(cosines) for cosines in told}
    if len(kinds) > 1:
        return Orientation.MIXED
    return kinds.pop() if kinds else Orientation.UNKNOWN


def _lie(cosines: tuple[float, ...] | None) -> Orientation:
    try:
        normal = np.abs(normal_of(cosines or ()))
    except NotAnalysed:
        return Orientation.UNKNOWN
    axis = int(np.argmax(normal))
    if normal[axis] < np.cos(np.radians(ORIENTATION_TOLERANCE_DEGREES)):
        return Orientation.OBLIQUE
    return (Orientation.SAGITTAL, Orientation.CORONAL, Orientation.AXIAL)[axis]


def _stack(headers: Sequence[InstanceHeader]) -> Stack | None:
    """How the slices lie, where headers tell; of several multi-frame images the longest: they may be phases of it."""
    if _are_multi_frame(headers):
        return max((one.frames for one in headers if one.frames), key=lambda each: each.length_mm, default=None)
    positions = [header.image_position_patient for header in headers if header.image_position_patient is not None]
    if not positions or len(positions) < len(headers):
        return None
    try:
        return stack_of(positions, headers[0].image_orientation_patient or ())
    except NotAnalysed:
        return None


def _are_multi_frame(headers: Sequence[InstanceHeader]) -> bool:
    return any(header.number_of_frames > 1 for header in headers)


def _is_regular(headers: Sequence[InstanceHeader]) -> bool:
    """Whether the headers make one grid; of a multi-frame image, whether each frame has a place of its own."""
    if len({(header.rows, header.columns, header.frame_of_reference_uid) for header in headers}) != 1:
        return False
    if _are_multi_frame(headers):
        stack = headers[0].frames
        return len(headers) == 1 and stack is not None and stack.places == headers[0].number_of_frames
    geometry = [
        (header.image_position_patient, header.image_orientation_patient, header.pixel_spacing_mm) for header in headers
    ]
    if any(None in told for told in geometry):
        return False
    positions, orientations, spacings = zip(*geometry, strict=True)
    try:
        regular_grid(positions, orientations, spacings[0])
    except NotAnalysed:
        return False
    return True
