"""What an image's header tells of whether a person can be recognized in it; of enhanced (multi-frame) ones, too."""

from collections.abc import Iterator

from pydicom import Dataset
from pydicom.tag import Tag

from services.triage.training import ImageFacts

_WORDS = ("BodyPartExamined", "SeriesDescription", "StudyDescription", "ProtocolName")
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_OVERLAYS = range(0x60000000, 0x60200000, 0x20000)  # the repeating groups
_OVERLAY_BITS_ALLOCATED, _OVERLAY_BIT_POSITION = 0x0100, 0x0102
_NAMES = (
    "SOPClassUID",
    "Modality",
    "ImageType",
    "BurnedInAnnotation",
    "RecognizableVisualFeatures",
    "ImagePositionPatient",
    "AnatomicRegionSequence",
    *_WORDS,
    *_GROUPS,
)
TAGS = (
    *map(Tag, _NAMES),
    *(Tag(overlay | bits) for overlay in _OVERLAYS for bits in (_OVERLAY_BITS_ALLOCATED, _OVERLAY_BIT_POSITION)),
)
"""All that is read for it."""


def facts_of(header: Dataset) -> ImageFacts:
    """Of a header that has `TAGS`."""
    groups = list(_groups(header))
    # of 1000 frames most say the same
    regions = dict.fromkeys(region for group in groups for region in _regions(group))
    return ImageFacts(
        sop_class_uid=str(header.get("SOPClassUID", "")),
        modality=str(header.get("Modality", "")),
        image_type=tuple(header.get("ImageType") or ()),
        burned_in=str(header.get("BurnedInAnnotation", "")),
        overlaid=any(_is_in_pixels(header, overlay) for overlay in _OVERLAYS),
        recognizable=str(header.get("RecognizableVisualFeatures", "")),
        text=" ".join([*(str(header.get(word, "")) for word in _WORDS), *regions]),
        positions_mm=tuple(position for group in groups for position in _positions(group)),
    )


def _is_in_pixels(header: Dataset, overlay: int) -> bool:
    """Whether an overlay lies in the bits that the pixels leave free, as it might until 2004 (PS3.3 C.9.2)."""
    return (
        _number(header, overlay | _OVERLAY_BIT_POSITION) > 0 or _number(header, overlay | _OVERLAY_BITS_ALLOCATED) > 1
    )


def _number(header: Dataset, tag: int) -> int:
    element = header.get(tag)
    return 0 if element is None else int(element.value or 0)


def _groups(header: Dataset) -> Iterator[Dataset]:
    """The header, and its functional groups (PS3.3 C.7.6.16): of all frames, and of each."""
    yield header
    for name in _GROUPS:
        yield from header.get(name) or ()


def _positions(group: Dataset) -> Iterator[float]:
    for plane in (group, *(group.get("PlanePositionSequence") or ())):
        position = list(plane.get("ImagePositionPatient") or ())
        if len(position) == 3:
            yield float(position[2])


def _regions(group: Dataset) -> Iterator[str]:
    for anatomy in (group, *(group.get("FrameAnatomySequence") or ())):
        for region in anatomy.get("AnatomicRegionSequence") or ():
            yield str(region.get("CodeMeaning", ""))
