"""Several series of one frame of reference, on the grid of one of them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.ndimage import affine_transform

from services.triage.errors import NotAnalysed
from services.triage.routing import FULL_COVER
from services.triage.volume import Volume
from services.worker.load.pixels import Voxels

SAME_GRID_MM = 1e-3
SAMPLED = 8
"""Every so manieth voxel along each axis is looked at to tell how much of the volume a series covers."""


def on_one_grid(primary: Volume, others: Sequence[Volume | None]) -> Volume:
    """The primary with all its inputs, in their order; None stands for itself. Without others it stays as it is.

    A series on another grid is resampled (linear, by both affines; its darkest value lies beyond it): that both are in
    one frame of reference is all the registration there is. Raises NotAnalysed: other_frame_of_reference,
    input_not_covered (an input covers less than 80 % of the primary's voxels).
    """
    if not others:
        return primary
    return replace(primary, inputs=tuple(_on_grid(one, primary) if one else primary.voxels for one in others))


def _on_grid(other: Volume, primary: Volume) -> Voxels:
    if other.frame_of_reference_uid != primary.frame_of_reference_uid:
        raise NotAnalysed("other_frame_of_reference", "the series are in several frames of reference")
    shape = primary.voxels.shape
    if other.voxels.shape == shape and np.allclose(other.affine, primary.affine, rtol=0, atol=SAME_GRID_MM):
        return other.voxels
    there = np.linalg.inv(other.affine) @ primary.affine
    covered = _covered(there, shape, other.voxels.shape)
    if covered < FULL_COVER:
        raise NotAnalysed("input_not_covered", f"a further series covers {covered:.0%} of the series to analyse")
    resampled: npt.NDArray[np.float32] = affine_transform(
        other.voxels.astype(np.float32),
        there[:3, :3],
        offset=there[:3, 3],
        output_shape=shape,
        order=1,
        cval=float(other.voxels.min()),
    )
    return resampled


def _covered(there: npt.NDArray[np.float64], shape: tuple[int, ...], other: tuple[int, ...]) -> float:
    """The share of voxels that lie within another series; `there` maps (slice, row, column, 1) to its indices."""
    axes = [np.arange(0, size, SAMPLED) for size in shape]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    place = index @ there[:3, :3].T + there[:3, 3]
    inside = np.all((place >= -0.5) & (place <= np.array(other) - 0.5), axis=1)
    return float(inside.mean())
