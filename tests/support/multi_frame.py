"""A multi-frame source for a result, with its volume."""

from collections.abc import Sequence

from pydicom import Dataset
from pydicom.uid import EnhancedCTImageStorage

from services.triage.volume import SliceSource, Volume
from tests.support.lesion_case import volume_of_series


def multi_frame(series: Sequence[Dataset]) -> tuple[Dataset, Volume]:
    """An enhanced CT object of those images, its frames in reverse order, and its volume in slice order."""
    enhanced = Dataset()
    enhanced.update({e.tag: e for e in series[0] if e.keyword not in ("PixelData", "PixelSpacing", "SliceThickness")})
    del enhanced.ImagePositionPatient, enhanced.ImageOrientationPatient
    enhanced.SOPClassUID = EnhancedCTImageStorage
    enhanced.NumberOfFrames = len(series)
    enhanced.PerFrameFunctionalGroupsSequence = [_frame_groups(image) for image in reversed(series)]
    enhanced.SharedFunctionalGroupsSequence = [Dataset()]
    volume = volume_of_series(series)
    sources = tuple(
        SliceSource(
            sop_class_uid=EnhancedCTImageStorage,
            sop_instance_uid=enhanced.SOPInstanceUID,
            frame_number=len(series) - index,
        )
        for index in range(len(series))
    )
    fields = ("voxels", "affine", "modality", "study_instance_uid", "series_instance_uid", "frame_of_reference_uid")
    return enhanced, Volume(sources=sources, **{field: getattr(volume, field) for field in fields})


def _frame_groups(image: Dataset) -> Dataset:
    """Geometry per frame, orientation too: not every maker shares it."""
    position, orientation, measures, groups = Dataset(), Dataset(), Dataset(), Dataset()
    position.ImagePositionPatient = image.ImagePositionPatient
    orientation.ImageOrientationPatient = image.ImageOrientationPatient
    measures.PixelSpacing, measures.SliceThickness = image.PixelSpacing, image.SliceThickness
    groups.PlanePositionSequence, groups.PlaneOrientationSequence = [position], [orientation]
    groups.PixelMeasuresSequence = [measures]
    return groups
