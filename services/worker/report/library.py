"""The image library of a report (TID 1600), the slim one: what the images share, then bare references."""

from collections.abc import Sequence

from highdicom.sr import (
    CodeContentItem,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
    NumContentItem,
    RelationshipTypeValues,
    UIDRefContentItem,
)
from pydicom import Dataset

from services.worker.report import codes

CONTEXT = RelationshipTypeValues.HAS_ACQ_CONTEXT
CONTAINS = RelationshipTypeValues.CONTAINS


def image_library(headers: Sequence[Dataset]) -> ContainerContentItem:
    """One group per series and matrix; a full library, with all attributes of every image, would cost seconds."""
    groups: dict[tuple[object, ...], list[Dataset]] = {}
    for header in headers:
        groups.setdefault(tuple(header.get(key) for key in ("SeriesInstanceUID", "Rows", "Columns")), []).append(header)
    library = ContainerContentItem(name=codes.IMAGE_LIBRARY, relationship_type=CONTAINS)
    library.ContentSequence = ContentSequence([_group(group) for group in groups.values()])
    return library


def _group(headers: Sequence[Dataset]) -> ContainerContentItem:
    group = ContainerContentItem(name=codes.IMAGE_LIBRARY_GROUP, relationship_type=CONTAINS)
    group.ContentSequence = ContentSequence([*_shared(headers[0]), *(_image(header) for header in headers)])
    return group


def _shared(header: Dataset) -> list[ContentItem]:
    items: list[ContentItem] = [
        CodeContentItem(name=codes.MODALITY, value=codes.modality(header.Modality), relationship_type=CONTEXT)
    ]
    if header.get("FrameOfReferenceUID"):
        items.append(
            UIDRefContentItem(
                name=codes.FRAME_OF_REFERENCE, value=header.FrameOfReferenceUID, relationship_type=CONTEXT
            )
        )
    for name, keyword in ((codes.PIXEL_ROWS, "Rows"), (codes.PIXEL_COLUMNS, "Columns")):
        if keyword in header:
            items.append(
                NumContentItem(
                    name=name, value=int(header[keyword].value), unit=codes.PIXELS, relationship_type=CONTEXT
                )
            )
    return items


def _image(header: Dataset) -> ImageContentItem:
    return ImageContentItem(
        name=codes.SOURCE,
        referenced_sop_class_uid=header.SOPClassUID,
        referenced_sop_instance_uid=header.SOPInstanceUID,
        relationship_type=CONTAINS,
    )
