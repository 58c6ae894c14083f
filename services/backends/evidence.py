"""What a reader saved in a viewer, as evidence for a verdict: the lengths in an SR, the volumes in a SEG.

Written by others, so read leniently in what they may leave out, and refused in what cannot be a lesion of this study.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.pixels.utils import iter_pixels

from services.triage.completeness import OWN_MANUFACTURER
from services.triage.errors import VerdictRefused
from services.triage.result import SEGMENTATIONS
from services.triage.volume import MAX_VOXELS

REPORTS = frozenset(f"1.2.840.10008.5.1.4.1.1.88.{number}" for number in (22, 33, 34))
"""SOP Class UIDs of Enhanced, Comprehensive and Comprehensive 3D SR."""

EVIDENCE = REPORTS | SEGMENTATIONS
"""SOP classes in which a viewer saves what a reader drew."""

# what pydicom and odd headers raise
_FAULTS = (InvalidDicomError, AttributeError, LookupError, TypeError, ValueError, NotImplementedError)
_GROUP = "125007"
_TRACKING_IDENTIFIER = "112039"
# by code, SCT and the older SRT: Length, Long axis, Major axis, Diameter
_LENGTHS = frozenset(
    {"410668003", "103339001", "131187009", "81827009", "G-D7FE", "G-A22A", "G-A185", "G-A193", "M-02550"}
)
_VOLUMES = frozenset({"118565006", "G-D705"})
_MM = {"mm": 1.0, "cm": 10.0}
_ML = {"mm3": 0.001, "cm3": 1.0, "ml": 1.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """One thing that was drawn: a measurement group of an SR, a segment of a SEG. number: counted from 1.

    None: not told. image_sop_instance_uid: a slice on which it was drawn.
    """

    number: int
    label: str
    long_axis_mm: float | None = None
    volume_ml: float | None = None
    image_sop_instance_uid: str | None = None


@lru_cache(maxsize=256)
def read_evidence(path: Path) -> tuple[Mark, ...]:
    """What is drawn in an object of a class of `EVIDENCE`. path: named by its content, which never changes.

    Raises VerdictRefused: unreadable_object, unsupported_object, own_object, empty_object.
    """
    try:
        header = dcmread(path, stop_before_pixels=True)
        if str(header.get("Manufacturer", "")).startswith(OWN_MANUFACTURER):
            raise VerdictRefused("own_object", "it was written by Vigie, not saved by a reader")
        sop_class = str(header.get("SOPClassUID", ""))
        if sop_class not in EVIDENCE:
            raise VerdictRefused("unsupported_object", "it is neither a Segmentation nor a report with measurements")
        marks = tuple(_segments(path, header) if sop_class in SEGMENTATIONS else _groups(header))
    except _FAULTS as error:
        raise VerdictRefused("unreadable_object", "it cannot be understood") from error
    if not marks:
        raise VerdictRefused("empty_object", "nothing is drawn in it")
    return marks


def _groups(report: Dataset) -> Iterator[Mark]:
    groups = (item for item in _items(report) if _code(item) == _GROUP)
    for number, group in enumerate(groups, start=1):
        items = list(_items(group))
        lengths = [_value(item, _MM) for item in items if _code(item) in _LENGTHS]
        volumes = [_value(item, _ML) for item in items if _code(item) in _VOLUMES]
        labels = [str(item.TextValue) for item in items if _code(item) == _TRACKING_IDENTIFIER and "TextValue" in item]
        images = [
            str(each.ReferencedSOPInstanceUID)
            for item in items
            if item.get("ValueType") == "IMAGE"
            for each in item.get("ReferencedSOPSequence", [])
        ]
        yield Mark(
            number=number,
            label=_without_tool(labels[0]) if labels else f"Measurement {number}",
            long_axis_mm=_largest(lengths),
            volume_ml=_largest(volumes),
            image_sop_instance_uid=images[0] if images else None,
        )


def _without_tool(label: str) -> str:
    """OHIF names its library before the tool: 'Cornerstone3DTools@^0.1.0:Length'."""
    library, _, tool = label.partition(":")
    return tool if "@" in library and tool else label


def _largest(values: list[float | None]) -> float | None:
    return max((round(one, 3) for one in values if one is not None), default=None)


def _items(item: Dataset) -> Iterator[Dataset]:
    for each in item.get("ContentSequence", []):
        yield each
        yield from _items(each)


def _code(item: Dataset) -> str:
    name = item.get("ConceptNameCodeSequence")
    return str(name[0].get("CodeValue", "")) if name else ""


def _value(item: Dataset, units: dict[str, float]) -> float | None:
    measured = item.get("MeasuredValueSequence")
    if not measured:
        return None
    unit = str(measured[0].MeasurementUnitsCodeSequence[0].CodeValue).lower()
    value = float(measured[0].NumericValue) * units.get(unit, math.nan)
    return value if math.isfinite(value) and value > 0 else None


def _segments(path: Path, seg: Dataset) -> Iterator[Mark]:
    if seg.get("SegmentationType") == "FRACTIONAL":
        raise VerdictRefused("unsupported_object", "a fractional Segmentation has no volume")
    frames = seg.PerFrameFunctionalGroupsSequence
    if len(frames) * int(seg.Rows) * int(seg.Columns) > MAX_VOXELS:
        raise VerdictRefused("unsupported_object", "the Segmentation is too large")
    counts, planes = _counts(path, seg)
    for segment in seg.SegmentSequence:
        number = int(segment.SegmentNumber)
        if counts.get(number):
            millilitres = counts[number] * _voxel_mm3(seg, planes[number]) / 1000
            yield Mark(
                number=number,
                label=str(segment.get("SegmentLabel", "")) or f"Segment {number}",
                volume_ml=round(millilitres, 3),
                image_sop_instance_uid=_source(frames[planes[number][0]]),
            )


def _counts(path: Path, seg: Dataset) -> tuple[dict[int, int], dict[int, list[int]]]:
    """Voxels of each segment, and the indices of the frames that have any."""
    counts: dict[int, int] = {}
    planes: dict[int, list[int]] = {}
    is_label_map = seg.get("SegmentationType") == "LABELMAP"
    for index, pixels in enumerate(iter_pixels(_whole(path))):
        if is_label_map:
            values, numbers = np.unique(pixels, return_counts=True)
            found = {int(value): int(n) for value, n in zip(values, numbers, strict=True) if value}
        else:
            number = int(_group(seg, index, "SegmentIdentificationSequence").ReferencedSegmentNumber)
            found = {number: int(np.count_nonzero(pixels))}
        for number, n in found.items():
            if n:
                counts[number] = counts.get(number, 0) + n
                planes.setdefault(number, []).append(index)
    return counts, planes


def _whole(path: Path) -> Dataset:
    """With its pixels; pydicom decodes what is missing of native ones as whatever lies in memory."""
    seg = dcmread(path)
    bits = int(seg.NumberOfFrames) * int(seg.Rows) * int(seg.Columns) * int(seg.BitsAllocated)
    if not seg.file_meta.TransferSyntaxUID.is_encapsulated and len(seg.PixelData) * 8 < bits:
        raise VerdictRefused("unreadable_object", "its pixels are cut off")
    return seg


def _voxel_mm3(seg: Dataset, frames: list[int]) -> float:
    measures = _group(seg, frames[0], "PixelMeasuresSequence")
    row_mm, column_mm = (float(each) for each in measures.PixelSpacing)
    return row_mm * column_mm * (_gap_mm(seg, frames) or _told_gap_mm(measures))


def _gap_mm(seg: Dataset, frames: list[int]) -> float | None:
    """The distance of neighbouring planes, by their positions."""
    cosines = [float(each) for each in _group(seg, frames[0], "PlaneOrientationSequence").ImageOrientationPatient]
    normal = np.cross(cosines[:3], cosines[3:])
    at = sorted(
        float(np.dot(normal, [float(each) for each in _group(seg, one, "PlanePositionSequence").ImagePositionPatient]))
        for one in frames
    )
    gaps = [after - before for before, after in pairwise(at) if after - before > 1e-3]
    return min(gaps, default=None)


def _told_gap_mm(measures: Dataset) -> float:
    """Of a segment on one plane alone."""
    return float(measures.get("SpacingBetweenSlices") or measures.SliceThickness)


def _group(seg: Dataset, frame: int, name: str) -> Dataset:
    """A functional group of a frame, or the one that all share."""
    own: Dataset = seg.PerFrameFunctionalGroupsSequence[frame]
    found = own if name in own else seg.SharedFunctionalGroupsSequence[0]
    group: Dataset = getattr(found, name)[0]
    return group


def _source(frame: Dataset) -> str | None:
    for derivation in frame.get("DerivationImageSequence", []):
        for source in derivation.get("SourceImageSequence", []):
            return str(source.ReferencedSOPInstanceUID)
    return None
