"""A volume of voxels with its place in the patient. Axis order is said here, once, in a type."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from services.triage.errors import Reason
from services.triage.inference import REFERENCE, Inference

MAX_VOXELS = 2**29
"""2,048 slices of 512 x 512: no larger volume is analysed unless the setting says so."""


@dataclass(frozen=True, kw_only=True)
class SliceSource:
    """Where one slice came from: an instance and, in a multi-frame object, its frame (from 1)."""

    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int | None = None


@dataclass(frozen=True, kw_only=True)
class Volume:
    """Voxels on a regular grid in the DICOM patient system.

    voxels: array of shape [slice, row, column], rescaled values (HU for CT), int16 or float32.
    affine: 4x4; maps (slice, row, column, 1) to millimetres in LPS (+x left, +y posterior, +z head).
    sources: one per slice, in slice order.
    inputs: of a model that takes several series, all of them on this grid, in the order of its inputs; `voxels` is one.
    """

    voxels: npt.NDArray[np.int16] | npt.NDArray[np.float32]
    affine: npt.NDArray[np.float64]
    modality: str
    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str
    sources: tuple[SliceSource, ...]
    inputs: tuple[npt.NDArray[np.int16] | npt.NDArray[np.float32], ...] = ()

    def __post_init__(self) -> None:
        if self.voxels.ndim != 3 or self.affine.shape != (4, 4):
            raise ValueError(f"voxels {self.voxels.shape} and affine {self.affine.shape}: want 3 axes and 4x4")
        if len(self.sources) != self.voxels.shape[0]:
            raise ValueError(f"{len(self.sources)} sources for {self.voxels.shape[0]} slices")

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (slice, row, column) in mm: along a column, rows are stepped."""
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(lengths[0]), float(lengths[1]), float(lengths[2])

    @cached_property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in mm3."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def to_lps_mm(self, index: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Map (slice, row, column) indices, shape [..., 3], to LPS millimetres, shape [..., 3]."""
        points = np.asarray(index, dtype=np.float64)
        return np.asarray(points @ self.affine[:3, :3].T + self.affine[:3, 3])


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """What a model says of a volume, on the volume's own grid.

    labels: uint8 [slice, row, column]; 0 is background, others are the model's classes.
    tumour_probability: uint8 [slice, row, column]; 0..255 stands for 0..1.
    timings_s: wall-clock seconds per stage of the runner. peak_memory_mb: of the process that ran it.
    mirrored: uint8 [run, tumour voxel], the probability in each further run on mirrored images, at the voxels that
        `labels` gives to tumour classes, in C order; or why there is none. None: it was not asked for.
    """

    labels: npt.NDArray[np.uint8]
    tumour_probability: npt.NDArray[np.uint8]
    timings_s: dict[str, float]
    peak_memory_mb: float | None = None
    inference: Inference = REFERENCE
    mirrored: npt.NDArray[np.uint8] | Reason | None = None
