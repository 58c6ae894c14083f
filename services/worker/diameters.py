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

Axes are of one part: what is joined only through another slice are two parts in this one, and what lies between them is
healthy tissue.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects, label
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

_TOUCHING = np.ones((3, 3))
Points = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class InPlane:
    """Axes in one slice. ends: of the long axis, as (row, column) indices; the centre of a pixel is a whole number."""

    slice_index: int
    long_axis_mm: float
    short_axis_mm: float
    ends: tuple[tuple[float, float], tuple[float, float]]


def longest_in_plane(mask: npt.NDArray[np.bool_], spacing_mm: tuple[float, float]) -> InPlane:
    """The longest diameter of any part in any slice, and the longest perpendicular of that part (RECIST 1.1 manner).

    mask: [slice, row, column] with at least one voxel; spacing_mm along (row, column) index. A part: pixels of one
    slice that touch, if only at a corner. Both axes are those of its convex hull. Where parts tie, as in neighbouring
    slices through the middle, the one with the longer short axis counts, then the first.
    """
    pixel_mm, longest_mm, measured = np.asarray(spacing_mm), 0.0, []
    for index, box, part in _parts(mask):
        # no part is longer than its box is across: of a thousand specks beside a lesion none is measured
        if np.linalg.norm(part.shape * pixel_mm) >= longest_mm:
            measured.append(_measured(index, (box[0].start, box[1].start), part, pixel_mm))
            longest_mm = max(longest_mm, measured[-1].long_axis_mm)
    return max(measured, key=lambda each: (each.long_axis_mm, each.short_axis_mm))


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


def _parts(mask: npt.NDArray[np.bool_]) -> Iterator[tuple[int, tuple[slice, ...], npt.NDArray[np.bool_]]]:
    """The 8-connected parts of every slice: slice index, box in the slice, and the pixels within the box."""
    for index in np.flatnonzero(mask.any(axis=(1, 2))):
        numbered, _ = label(mask[index], structure=_TOUCHING)  # cc3d may give a slice back with a third axis
        for number, box in enumerate(find_objects(numbered), start=1):
            yield int(index), box, numbered[box] == number


def _measured(index: int, first: tuple[int, int], part: npt.NDArray[np.bool_], spacing_mm: Points) -> InPlane:
    """`first`: (row, column) in the slice of the first row and column of `part`."""
    points = _faces(_outline(part)) * spacing_mm
    hull = points[ConvexHull(points).vertices]
    distances = np.linalg.norm(hull[:, None] - hull[None], axis=-1)
    start, end = hull[list(np.unravel_index(np.argmax(distances), distances.shape))]
    length = float(distances.max())
    (row, column), (last_row, last_column) = ((each / spacing_mm + first).tolist() for each in (start, end))
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
