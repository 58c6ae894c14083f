"""Slices of a volume as highdicom likes its sources: classic single images, whatever they came from.

highdicom takes only one multi-frame source, only with shared orientation, and stumbles over headers without a slice
thickness or with a private SOP class. So it is given one plain stand-in per slice, and the references that it writes
are turned into references to the true instances and frames.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from highdicom.seg import Segmentation
from pydicom import Dataset
from pydicom.uid import CTImageStorage, generate_uid

from services.backends.image_header import identity_of
from services.triage.volume import SliceSource, Volume

DECIMALS = 10


@dataclass(frozen=True, kw_only=True)
class Planes:
    """Stand-ins, one per slice, and what each stands for, by its SOP Instance UID."""

    stand_ins: list[Dataset]
    sources: Mapping[str, SliceSource]

    def of(self, sources: Iterable[SliceSource]) -> "Planes":
        """The same for some of the slices, those of these sources."""
        kept = set(sources)
        return Planes(
            stand_ins=self.stand_ins, sources={uid: each for uid, each in self.sources.items() if each in kept}
        )

    def restore_references(self, seg: Segmentation) -> None:
        """Let a Segmentation made from the stand-ins refer to the true images instead."""
        for frame in seg.PerFrameFunctionalGroupsSequence:
            for item in frame.DerivationImageSequence[0].SourceImageSequence:
                self.restore(item)
        seg.SourceImageSequence = self.references()
        seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence = self.references()

    def restore(self, reference: Dataset) -> None:
        """Let one reference to a stand-in refer to the true image, and to its frame in a multi-frame one."""
        source = self.sources.get(reference.ReferencedSOPInstanceUID)
        if source is None:  # restored already: highdicom lets frames of one slice share their reference
            return
        reference.ReferencedSOPClassUID = source.sop_class_uid
        reference.ReferencedSOPInstanceUID = source.sop_instance_uid
        if source.frame_number is not None:
            reference.ReferencedFrameNumber = source.frame_number

    def references(self) -> list[Dataset]:
        """References to the true instances, each once, whatever their frames."""
        classes = {source.sop_instance_uid: source.sop_class_uid for source in self.sources.values()}
        return [_reference(sop_class_uid, uid) for uid, sop_class_uid in classes.items()]


def referenced_series(headers: Iterable[Dataset]) -> list[Dataset]:
    """Items of a Referenced Series Sequence (PS3.3 C.12.2.1), one for each series of the headers."""
    found: dict[str, list[Dataset]] = {}
    for header in headers:
        reference = _reference(header.SOPClassUID, header.SOPInstanceUID)
        found.setdefault(header.SeriesInstanceUID, []).append(reference)
    items = []
    for uid, references in found.items():
        item = Dataset()
        item.SeriesInstanceUID = uid
        item.ReferencedInstanceSequence = references
        items.append(item)
    return items


def planes_of(volume: Volume, indices: Sequence[int], headers: Sequence[Dataset]) -> Planes:
    """Stand-ins for those slices of a volume; the first carries patient and study. At least one index.

    Positions are those of the source images, the rest of the geometry is the volume's: one for all slices. Where an
    anonymiser took the Frame of Reference UID, which a Segmentation must have, there is a fresh one.
    """
    by_uid = {header.SOPInstanceUID: header for header in headers}
    sources = [volume.sources[index] for index in indices]
    first = by_uid[sources[0].sop_instance_uid]
    slice_mm, row_mm, column_mm = volume.spacing_mm
    shared = Dataset()
    shared.SOPClassUID = CTImageStorage
    shared.StudyInstanceUID = volume.study_instance_uid
    shared.SeriesInstanceUID = volume.series_instance_uid
    shared.FrameOfReferenceUID = volume.frame_of_reference_uid or generate_uid(prefix=None)
    shared.Modality = volume.modality
    shared.Rows, shared.Columns = volume.voxels.shape[1:]
    shared.ImageOrientationPatient = attribute_of(
        first, sources[0], "PlaneOrientationSequence", "ImageOrientationPatient"
    )
    shared.PixelSpacing = [round(row_mm, DECIMALS), round(column_mm, DECIMALS)]
    shared.SliceThickness = first.get("SliceThickness") or round(slice_mm, DECIMALS)
    shared.SpacingBetweenSlices = round(slice_mm, DECIMALS)
    stand_ins = [identity_of(first), *(Dataset() for _ in sources[1:])]
    for stand_in, source in zip(stand_ins, sources, strict=True):
        header = by_uid[source.sop_instance_uid]
        stand_in.update(shared)
        stand_in.SOPInstanceUID = generate_uid(prefix=None)
        stand_in.ImagePositionPatient = attribute_of(header, source, "PlanePositionSequence", "ImagePositionPatient")
    return Planes(
        stand_ins=stand_ins,
        sources={stand_in.SOPInstanceUID: source for stand_in, source in zip(stand_ins, sources, strict=True)},
    )


def attribute_of(header: Dataset, source: SliceSource, macro: str, keyword: str) -> object:
    """An attribute of one slice, None where it is absent.

    Of the data set, or in a multi-frame one of the functional groups of its frame, then of those that all frames share
    (PS3.3 C.7.6.16).
    """
    if source.frame_number is None:
        return header.get(keyword)
    groups = header.PerFrameFunctionalGroupsSequence[source.frame_number - 1]
    shared = header.get("SharedFunctionalGroupsSequence") or [Dataset()]
    items = groups.get(macro) or shared[0].get(macro)
    return items[0].get(keyword) if items else header.get(keyword)


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = sop_class_uid
    reference.ReferencedSOPInstanceUID = sop_instance_uid
    return reference
