"""What an image's header tells of whether a person can be recognized in it; of enhanced (multi-frame) ones, too."""

from collections.abc import Iterator

from pydicom import Dataset

from services.triage.training import ImageFacts

_WORDS = ("BodyPartExamined", "SeriesDescription", "StudyDescription", "ProtocolName")
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
TAGS = (
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
        recognizable=str(header.get("RecognizableVisualFeatures", "")),
        text=" ".join([*(str(header.get(word, "")) for word in _WORDS), *regions]),
        positions_mm=tuple(position for group in groups for position in _positions(group)),
    )


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
