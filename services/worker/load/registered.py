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
ROUNDING = 1e-3
"""Of an index: what lies on a series' outer face is of it, whatever the affines' last digits say."""


def on_one_grid(primary: Volume, others: Sequence[Volume | None]) -> Volume:
    """The primary with all its inputs, in their order; None stands for itself. Without others it stays as it is.

    A series on another grid is resampled (linear, by both affines; beyond the outer faces of its voxels lies its
    darkest value): that both are in one frame of reference is all the registration there is. Raises NotAnalysed:
    other_frame_of_reference, input_not_covered (an input covers less than 80 % of the primary's voxels).
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
    inside = _inside(there, shape, other.voxels.shape)
    if inside.mean() < FULL_COVER:
        raise NotAnalysed("input_not_covered", f"a further series covers {inside.mean():.0%} of the series to analyse")
    resampled: npt.NDArray[np.float32] = affine_transform(
        other.voxels.astype(np.float32),
        there[:3, :3],
        offset=there[:3, 3],
        output_shape=shape,
        order=1,
        mode="nearest",  # within half a voxel of the outermost centres; "constant" would be dark from there on
    )
    resampled[~inside] = other.voxels.min()
    return resampled


def _inside(there: npt.NDArray[np.float64], shape: tuple[int, ...], other: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Which voxels have their centre in one of another series; `there` maps (slice, row, column, 1) to its indices."""
    rows, columns = np.ogrid[: shape[1], : shape[2]]
    inside = np.ones(shape, np.bool_)
    for number, plane in enumerate(inside):
        for (by_slice, by_row, by_column, start), size in zip(there[:3], other, strict=True):
            index = by_slice * number + start + by_row * rows + by_column * columns
            plane &= (index >= -0.5 - ROUNDING) & (index <= size - 0.5 + ROUNDING)
    return inside
