"""Tubes: vessels, airways, ribs. Capsules painted into a coverage volume, and branching trees to make them from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from grid import Grid


@dataclass(frozen=True)
class Tubes:
    """Capsules in millimetres: from `start` (n, 3) to `end` (n, 3), radii `r0` and `r1` (n,)."""

    start: np.ndarray
    end: np.ndarray
    r0: np.ndarray
    r1: np.ndarray

    @classmethod
    def chain(cls, points, radius) -> Tubes:
        """One tube through the given points (n, 3)."""
        points = np.asarray(points, dtype=np.float64)
        radii = np.broadcast_to(np.asarray(radius, dtype=np.float64), (len(points),))
        return cls(points[:-1], points[1:], radii[:-1], radii[1:])

    def select(self, keep: np.ndarray) -> Tubes:
        """Some of the tubes."""
        return Tubes(self.start[keep], self.end[keep], self.r0[keep], self.r1[keep])

    def moved(self, offset: np.ndarray, scale: float, add_mm: float = 0.0) -> Tubes:
        """The tubes shifted, their radii scaled and widened."""
        return Tubes(self.start + offset, self.end + offset, self.r0 * scale + add_mm, self.r1 * scale + add_mm)


def paint_tubes(coverage: np.ndarray, grid: Grid, tubes: Tubes) -> None:
    """Raise `coverage` (0..1, in place) to the share of each voxel that the tubes fill."""
    voxel = float(grid.spacing_mm[1:].mean())
    reach = np.maximum(tubes.r0, tubes.r1)[:, None] + voxel
    lows, highs = np.minimum(tubes.start, tubes.end) - reach, np.maximum(tubes.start, tubes.end) + reach
    for start, end, r0, r1, low, high in zip(tubes.start, tubes.end, tubes.r0, tubes.r1, lows, highs, strict=True):
        box = grid.box(low, high)
        if box is None:
            continue
        filled = _capsule(grid, box, start, end, r0, r1, voxel)
        np.maximum(coverage[box], filled, out=coverage[box])


def _capsule(grid: Grid, box, start, end, r0, r1, voxel) -> np.ndarray:
    z = (grid.z[box[0]] - np.float32(start[0]))[:, None, None]
    y = (grid.y[box[1]] - np.float32(start[1]))[None, :, None]
    x = (grid.x[box[2]] - np.float32(start[2]))[None, None, :]
    dz, dy, dx = (end - start).astype(np.float32)
    along = np.clip((z * dz + y * dy + x * dx) / np.float32(dz * dz + dy * dy + dx * dx + 1e-6), 0, 1)
    gap = np.sqrt((z - along * dz) ** 2 + (y - along * dy) ** 2 + (x - along * dx) ** 2)
    radius = np.float32(r0) + along * np.float32(r1 - r0)
    thick = np.clip((radius - gap) / voxel + 0.5, 0, 1)
    if min(r0, r1) >= 0.5 * voxel:
        return thick
    share = np.minimum(1.0, 0.8 * (2 * radius / voxel) ** 2 + 0.04)  # a thread thinner than a voxel fills part of it
    thin = np.clip(1 - gap / voxel, 0, 1) * share
    return np.where(radius < 0.5 * voxel, thin, thick)


@dataclass(frozen=True)
class Tree:
    """A tree and its branching points."""

    tubes: Tubes
    nodes: np.ndarray  # (n, 3) mm
    radii: np.ndarray  # (n,) mm


def grow_tree(
    rng: np.random.Generator,
    root: np.ndarray,
    tips: np.ndarray,
    tip_radius_mm: float,
    exponent: float,
    path_weight: float,
) -> Tree:
    """Join the tips to the root, each to the node that makes a short way; radii follow Murray's law."""
    order = np.argsort(np.linalg.norm(tips - root, axis=1) + rng.normal(0, 8, len(tips)))
    nodes = np.vstack([root[None], tips[order]])
    n = len(nodes)
    parent, path = np.zeros(n, int), np.zeros(n)
    for i in range(1, n):
        gap = np.linalg.norm(nodes[:i] - nodes[i], axis=1)
        parent[i] = j = int(np.argmin(gap + path_weight * path[:i]))
        path[i] = path[j] + gap[j]
    leaves, children = np.zeros(n), np.zeros(n, int)
    for i in range(n - 1, 0, -1):
        leaves[i] += 1.0 if children[i] == 0 else 0.15
        leaves[parent[i]] += leaves[i]
        children[parent[i]] += 1
    radii = tip_radius_mm * np.maximum(leaves, 1) ** (1 / exponent)
    start, end, r1 = nodes[parent[1:]], nodes[1:], radii[1:]
    r0 = np.minimum(radii[parent[1:]], r1 * 1.25)
    length = np.linalg.norm(end - start, axis=1, keepdims=True)
    middle = (start + end) / 2 + rng.normal(0, 0.09, start.shape) * length
    rm = (r0 + r1) / 2
    tubes = Tubes(np.vstack([start, middle]), np.vstack([middle, end]), np.r_[r0, rm], np.r_[rm, r1])
    return Tree(tubes, nodes, radii)
