"""Diameters of a set of voxels, from voxel edge to voxel edge.

A voxel is taken as its face centres (half a voxel from its centre along each axis), not as its centre, which would
make every diameter about one voxel short, nor as its corners, which would make oblique ones long. So on a smooth
shape the long axis and the diameter in 3D are right to within one voxel, and at each end the depth a/(4 b^2) at which
the tip of an ellipsoid (radii a along, b across, in voxels) still passes between voxel centres. The short axis is the
longest chord at right angles to the long one that was found (RECIST 1.1), and is right to within 1 + 1/(4 R) pixels
of the shape's own chord there; R: radius of curvature at the chord's ends, in pixels. At a depth of less than 1/(8 R)
the tip of a round end is narrower than a pixel and may pass between two pixel centres: each end can lose so much more
than half a pixel. The mask alone does not tell, so that no other measure could promise one pixel
(tests/worker/test_diameters.py).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class InPlane:
    """Axes in one slice. ends: of the long axis, as (row, column) indices; the centre of a pixel is a whole number."""

    slice_index: int
    long_axis_mm: float
    short_axis_mm: float
    ends: tuple[tuple[float, float], tuple[float, float]]


def longest_in_plane(mask: npt.NDArray[np.bool_], spacing_mm: tuple[float, float]) -> InPlane:
    """The longest diameter over all slices, and the longest perpendicular to it in that slice (RECIST 1.1 manner).

    mask: [slice, row, column] with at least one voxel; spacing_mm along (row, column) index. Both axes are those
    of the convex hull. Where slices tie, as neighbours through the middle do, the one with the longer short axis
    counts, then the first.
    """
    slices = (_in_slice(int(index), mask[index], np.asarray(spacing_mm)) for index in np.flatnonzero(mask.any((1, 2))))
    return max(slices, key=lambda each: (each.long_axis_mm, each.short_axis_mm))


def longest_3d(mask: npt.NDArray[np.bool_], to_mm: npt.NDArray[np.float64]) -> float:
    """The longest distance in mm between two voxels, edge to edge. to_mm: 3x3, index steps as columns in mm."""
    centres = np.concatenate(
        [
            np.insert(_corners(_outline(mask[index])), 0, index, axis=1)
            for index in np.flatnonzero(mask.any(axis=(1, 2)))
        ]
    )
    faces = _faces(centres) @ to_mm.T
    return float(pdist(faces[ConvexHull(faces).vertices]).max())


def _in_slice(index: int, plane: npt.NDArray[np.bool_], spacing_mm: Points) -> InPlane:
    points = _faces(_outline(plane)) * spacing_mm
    hull = points[ConvexHull(points).vertices]
    distances = np.linalg.norm(hull[:, None] - hull[None], axis=-1)
    start, end = hull[list(np.unravel_index(np.argmax(distances), distances.shape))]
    length = float(distances.max())
    (row, column), (last_row, last_column) = (start / spacing_mm).tolist(), (end / spacing_mm).tolist()
    return InPlane(
        slice_index=index,
        long_axis_mm=length,
        short_axis_mm=_longest_perpendicular(hull, start, (end - start) / length),
        ends=((row, column), (last_row, last_column)),
    )


def _longest_perpendicular(hull: Points, start: Points, direction: Points) -> float:
    """The longest chord across a convex polygon at right angles to its diameter.

    The polygon's ends along its diameter are the diameter's own ends, which part its outline into two chains. The
    width between them is linear from vertex to vertex, so that it is greatest at a vertex.
    """
    along = (hull - start) @ direction
    across = (hull - start) @ np.array([-direction[1], direction[0]])
    order = np.argsort(along)
    along, across = along[order], across[order]
    end = (along == along[0]) | (along == along[-1])
    above, below = end | (across > 0), end | (across <= 0)
    widths = np.interp(along, along[above], across[above]) - np.interp(along, along[below], across[below])
    return float(widths.max())


def _outline(plane: npt.NDArray[np.bool_]) -> Points:
    """(row, column) of the first and last pixel of every row: all that a convex hull can touch."""
    rows = np.flatnonzero(plane.any(axis=1))
    first = plane[rows].argmax(axis=1)
    last = plane.shape[1] - 1 - plane[rows, ::-1].argmax(axis=1)
    return np.stack([np.tile(rows, 2), np.concatenate([first, last])], axis=1).astype(np.float64)


def _corners(outline: Points) -> Points:
    """Those points of an outline that are corners of its convex hull."""
    return np.unique(outline[ConvexHull(_faces(outline)).vertices % len(outline)], axis=0)


def _faces(centres: Points) -> Points:
    """The face centres of voxels: half a step to either side along each axis. Block k holds all of one face."""
    axes = np.eye(centres.shape[1]) / 2
    return np.concatenate([centres + step for step in (*axes, *-axes)])
