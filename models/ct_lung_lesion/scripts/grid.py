"""Sampling grids and smooth random fields, both in millimetres.

Space: z grows towards the head, y towards the back, x towards the patient's left, so an array indexed
[slice, row, column] on such a grid is an axial CT in the DICOM patient system (LPS).
A `Field` is drawn once and can be sampled on any grid: a phantom is the same body whatever grid it is seen on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Every field covers this box (z, y, x), which no phantom leaves.
FIELD_LOW_MM = np.array([-180.0, -280.0, -320.0])
FIELD_HIGH_MM = np.array([440.0, 280.0, 320.0])


@dataclass(frozen=True)
class Grid:
    """An axis-aligned grid: the millimetre position of every slice, row and column."""

    z: np.ndarray
    y: np.ndarray
    x: np.ndarray

    @classmethod
    def over(cls, low_mm, high_mm, spacing_mm) -> Grid:
        """The grid with `spacing_mm` (z, y, x) whose voxel centres lie in [low, high)."""
        return cls(*(np.arange(a, b, s, dtype=np.float32) for a, b, s in zip(low_mm, high_mm, spacing_mm, strict=True)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        return len(self.z), len(self.y), len(self.x)

    @property
    def axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The three coordinate vectors in the order z, y, x."""
        return self.z, self.y, self.x

    @property
    def spacing_mm(self) -> np.ndarray:
        """Distance between voxels on each axis."""
        return np.array([a[1] - a[0] if len(a) > 1 else 1.0 for a in self.axes], dtype=np.float64)

    @property
    def origin_mm(self) -> np.ndarray:
        """Position of the first voxel."""
        return np.array([a[0] for a in self.axes], dtype=np.float64)

    def mesh(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """z, y and x, each shaped to broadcast to the whole grid."""
        return self.z[:, None, None], self.y[None, :, None], self.x[None, None, :]

    def box(self, low_mm, high_mm) -> tuple[slice, slice, slice] | None:
        """The index box that covers [low, high] mm, or None if it misses the grid."""
        slices = []
        for axis, low, high in zip(self.axes, low_mm, high_mm, strict=True):
            first, last = np.searchsorted(axis, [low, high])
            if last - first < 1:
                return None
            slices.append(slice(int(first), int(last)))
        return tuple(slices)

    def crop(self, box) -> Grid:
        """The part of the grid in an index box."""
        return Grid(*(axis[s] for axis, s in zip(self.axes, box, strict=True)))

    def points_mm(self, indices: np.ndarray) -> np.ndarray:
        """Millimetre positions (n, 3) of voxel indices (n, 3)."""
        return np.stack([axis[i] for axis, i in zip(self.axes, indices.T, strict=True)], axis=1).astype(np.float64)

    def indices(self, points_mm: np.ndarray) -> np.ndarray:
        """The nearest voxel (n, 3) of points (n, 3), clipped to the grid."""
        index = np.round((points_mm - self.origin_mm) / self.spacing_mm).astype(int)
        return np.clip(index, 0, np.array(self.shape) - 1)


class Field:
    """Smooth noise of about unit variance: a cubic B-spline over a random lattice with nodes `scale_mm` apart."""

    def __init__(self, rng: np.random.Generator, scale_mm: float, low_mm=FIELD_LOW_MM, high_mm=FIELD_HIGH_MM):
        self._scale = float(scale_mm)
        self._low = np.asarray(low_mm, dtype=np.float64)
        nodes = np.ceil((np.asarray(high_mm) - self._low) / self._scale).astype(int) + 4
        self._lattice = rng.standard_normal(nodes, dtype=np.float32)

    def on(self, grid: Grid) -> np.ndarray:
        """The field on every voxel of the grid, float32."""
        out = self._lattice
        for axis, origin in zip(grid.axes, self._low, strict=True):
            first, weights = self._weights(axis, origin, out.shape[0])
            out = np.tensordot(out[first : first + weights.shape[1]], weights, axes=(0, 1))
        return out * np.float32(3.0)  # three passes each moved their axis to the end: order is z, y, x again

    def _weights(self, axis: np.ndarray, origin: float, nodes: int) -> tuple[int, np.ndarray]:
        position = (np.asarray(axis, dtype=np.float64) - origin) / self._scale + 1.0
        first = int(np.clip(np.floor(position.min()) - 1, 0, nodes - 4))
        last = int(np.clip(np.ceil(position.max()) + 3, first + 4, nodes))
        distance = np.abs(position[:, None] - np.arange(first, last)[None])
        near = 2.0 / 3.0 - distance**2 + distance**3 / 2.0
        far = np.clip(2.0 - distance, 0.0, None) ** 3 / 6.0
        return first, np.where(distance < 1.0, near, far).astype(np.float32)


def soft(distance_mm: np.ndarray, width_mm: float = 2.0) -> np.ndarray:
    """How much of a voxel lies inside a surface at signed `distance_mm` (inside is positive): 0..1."""
    return np.clip(distance_mm / np.float32(width_mm) + np.float32(0.5), 0.0, 1.0, dtype=np.float32)


def paint(hu: np.ndarray, coverage: np.ndarray, value) -> None:
    """Replace `coverage` of every voxel by `value`, in place."""
    hu += coverage * (value - hu)
