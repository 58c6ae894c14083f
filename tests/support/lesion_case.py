"""A model, a volume with balls in it and what a segmenter would say: the way from voxels to a result, without files."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from services.triage.errors import Reason
from services.triage.finding import Finding, Outcome, assess, without_analysis
from services.triage.model import ClassKind, Code, Model, ModelClass, ModelIdentity, Thresholds
from services.triage.volume import Segmentation, SliceSource, Volume
from services.worker.lesions import Labels, find_candidates

LESION, SECOND_LESION, LUNG = 1, 2, 3
BROKEN = Reason(code="out_of_memory", text="the model needs more memory than there is")
UNSUITABLE = Reason(code="no_suitable_series", text="no series of this study can be analysed")


def a_model(*, calibrated: bool = False, min_volume_ml: float = 0.0, name: str = "ct_lung_lesion") -> Model:
    return Model(
        identity=ModelIdentity(name=name, version="1.0.0", weights_sha256="ab" * 32),
        modality="CT",
        anatomic_region=Code(value="39607008", scheme="SCT", meaning="Lung structure"),
        classes=(
            ModelClass(value=LESION, name="lesion", kind=ClassKind.TUMOUR),
            ModelClass(value=SECOND_LESION, name="other lesion", kind=ClassKind.TUMOUR),
            ModelClass(value=LUNG, name="lung", kind=ClassKind.ORGAN),
        ),
        thresholds=Thresholds(equivocal_low=0.3, detect=0.5, elevated=0.7, urgent=0.9),
        probability_threshold=0.5,
        min_volume_ml=min_volume_ml,
        min_slices=3,
        calibrated=calibrated,
        scope_statement="Chest CT of adults, slices of 5 mm or less.",
        sensitivity_statement="On phantoms it finds 9 of 10 lesions of 10 to 30 mm.",
    )


def affine_of(
    spacing_mm: Sequence[float] = (2.5, 0.8, 0.7),
    *,
    rotation: npt.ArrayLike = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)),
    origin_mm: Sequence[float] = (-100.0, -120.0, 40.0),
) -> npt.NDArray[np.float64]:
    """An affine whose columns are the directions of (slice, row, column) steps, as `Volume.affine` has them."""
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(rotation) * np.asarray(spacing_mm)
    affine[:3, 3] = origin_mm
    return affine


def volume_of(voxels: npt.ArrayLike, affine: npt.NDArray[np.float64], *, modality: str = "CT") -> Volume:
    array = np.asarray(voxels, dtype=np.int16)
    return Volume(
        voxels=array,
        affine=affine,
        modality=modality,
        study_instance_uid="2.25.1",
        series_instance_uid="2.25.2",
        frame_of_reference_uid="2.25.3",
        sources=tuple(
            SliceSource(sop_class_uid="1.2.840.10008.5.1.4.1.1.2", sop_instance_uid=f"2.25.4{index}")
            for index in range(len(array))
        ),
    )


def volume_of_series(series: Sequence[Dataset]) -> Volume:
    """The volume of classic images that are already in slice order, by the definition of PS3.3 C.7.6.2.1.1."""
    first = series[0]
    across, down = np.reshape(np.asarray(first.ImageOrientationPatient, float), (2, 3))
    affine = np.eye(4)
    affine[:3, 0] = np.subtract(series[1].ImagePositionPatient, first.ImagePositionPatient)
    affine[:3, 1], affine[:3, 2] = down * first.PixelSpacing[0], across * first.PixelSpacing[1]
    affine[:3, 3] = first.ImagePositionPatient
    slope, intercept = float(first.get("RescaleSlope", 1)), float(first.get("RescaleIntercept", 0))
    return Volume(
        voxels=np.stack([each.pixel_array * slope + intercept for each in series]).astype(np.int16),
        affine=affine,
        modality=first.Modality,
        study_instance_uid=first.StudyInstanceUID,
        series_instance_uid=first.SeriesInstanceUID,
        frame_of_reference_uid=first.get("FrameOfReferenceUID", ""),
        sources=tuple(
            SliceSource(sop_class_uid=each.SOPClassUID, sop_instance_uid=each.SOPInstanceUID) for each in series
        ),
    )


def ellipsoid(volume: Volume, centre: Sequence[float], radii_mm: Sequence[float]) -> npt.NDArray[np.bool_]:
    """Voxels whose centres lie in an ellipsoid; centre as (slice, row, column), radii along those axes in mm."""
    grid = np.ogrid[tuple(slice(0, n) for n in volume.voxels.shape)]
    distances = [((g - c) * s / r) ** 2 for g, c, s, r in zip(grid, centre, volume.spacing_mm, radii_mm, strict=True)]
    return np.asarray(sum(distances[1:], distances[0]) <= 1)


def segmentation_of(labels: npt.ArrayLike, probability: npt.ArrayLike) -> Segmentation:
    return Segmentation(
        labels=np.asarray(labels, dtype=np.uint8),
        tumour_probability=np.asarray(probability, dtype=np.uint8),
        timings_s={},
    )


def with_balls(
    volume: Volume, scores: Sequence[float], *, radius_mm: float = 5.0, model: Model | None = None
) -> tuple[Finding, Labels]:
    """One ball per score, along the diagonal of the grid; answers the finding and its label map."""
    model = model or a_model()
    probability = np.zeros(volume.voxels.shape, dtype=np.uint8)
    for index, score in enumerate(scores):
        centre = [(n - 1) * (index + 1) / (len(scores) + 1) for n in volume.voxels.shape]
        probability[ellipsoid(volume, centre, [radius_mm] * 3)] = round(score * 255)
    candidates = find_candidates(segmentation_of(probability > 0, probability), volume, model)
    finding = assess(candidates.lesions, model.thresholds, calibrated=model.calibrated)
    return finding, candidates.label_map_of(finding.lesions)


def finding_of(outcome: Outcome, volume: Volume) -> tuple[Finding, Labels]:
    """A finding of each outcome on one volume."""
    if outcome is Outcome.FAILED:
        return without_analysis(outcome, BROKEN), np.zeros(volume.voxels.shape, np.uint8)
    if outcome is Outcome.NOT_ANALYSED:
        return without_analysis(outcome, UNSUITABLE), np.zeros(volume.voxels.shape, np.uint8)
    scores = {Outcome.FOUND: (0.93, 0.61, 0.4), Outcome.EQUIVOCAL: (0.4,), Outcome.NOTHING_FOUND: (0.12,)}
    return with_balls(volume, scores[outcome])
