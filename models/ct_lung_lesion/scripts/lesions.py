"""Tumours: where they sit, what shape and texture they have, and how they are painted into any lung.

Used for the phantoms and for real backgrounds alike: all that is needed is a lung mask on a grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from grid import Field, Grid, paint, soft
from scipy import ndimage
from tubes import Tubes, paint_tubes

KINDS = ("isolated", "pleural", "vascular", "mediastinal")


@dataclass(frozen=True)
class Lesion:
    """One planned tumour. Lengths in millimetres, order z, y, x."""

    kind: str
    diameter_mm: float
    centre: np.ndarray
    radii: np.ndarray
    rotation: np.ndarray
    lumps: Field
    lump_size: float
    spicules: Tubes | None
    hu: float
    texture: Field
    texture_hu: float
    core: tuple[float, float] | None  # (relative depth, HU) of necrosis or cavity
    calcified_hu: float | None
    halo: tuple[float, float] | None  # (width, HU rise) of a ground-glass rim
    bronchogram: bool
    invades: bool  # may grow a little beyond the lung

    @property
    def reach_mm(self) -> float:
        """How far from its centre the lesion may be painted."""
        return float(self.radii.max() * (1 + 1.6 * self.lump_size) + 3)


@dataclass(frozen=True)
class LungMap:
    """Where lesions can go: a lung mask on a (coarse) grid, some vessel points, some hilar points."""

    grid: Grid
    lung: np.ndarray
    vessels_mm: np.ndarray
    hilum_mm: np.ndarray

    def inside(self, points_mm: np.ndarray) -> np.ndarray:
        """Which of the points (n, 3) lie in the lung."""
        return self.lung[tuple(self.grid.indices(points_mm).T)]


class Planner:
    """Draws tumours for one lung."""

    def __init__(self, rng: np.random.Generator, lungs: LungMap, blood_hu: float = 40.0):
        self.rng, self.lungs, self.blood_hu = rng, lungs, blood_hu
        depth = ndimage.distance_transform_edt(lungs.lung, sampling=lungs.grid.spacing_mm)
        self.edge = lungs.grid.points_mm(np.argwhere((depth > 0) & (depth < 1.6 * lungs.grid.spacing_mm.max())))
        self.deep = lungs.grid.points_mm(np.argwhere(depth > 6))

    def draw(self, count: int, smallest_mm: float = 4.0, largest_mm: float = 120.0) -> list[Lesion]:
        """Up to `count` tumours whose diameters are spread evenly on a logarithmic scale."""
        planned: list[Lesion] = []
        if len(self.deep) < 50 or len(self.edge) < 50:
            return planned
        for _ in range(count * 12):
            if len(planned) == count:
                break
            diameter = float(np.exp(self.rng.uniform(np.log(smallest_mm), np.log(largest_mm))))
            if diameter > 45 and sum(other.diameter_mm > 45 for other in planned) >= 1:
                continue
            lesion = self._one(diameter)
            if self._fits(lesion) and all(_apart(lesion, other) for other in planned):
                planned.append(lesion)
        return planned

    def _one(self, d: float) -> Lesion:
        rng, u = self.rng, self.rng.uniform
        kind = str(rng.choice(KINDS, p=[0.36, 0.32, 0.2, 0.12] if d < 30 else [0.2, 0.42, 0.08, 0.3]))
        radii = d / 2 * u(0.78, 1.28, 3)
        radii *= d / 2 / np.cbrt(radii.prod())
        rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        reach = radii.max() * 1.8 + 8
        lump = max(2.0, radii.mean() * u(0.5, 1.2))
        cored = d > 22 and rng.random() < 0.35
        return Lesion(
            kind=kind,
            diameter_mm=d,
            centre=self._place(kind, radii),
            radii=radii,
            rotation=rotation,
            lumps=_local_field(rng, lump, reach),
            lump_size=float(rng.choice([0.04, 0.12, 0.25, 0.4])),
            spicules=_spicules(rng, radii.mean()) if d > 6 and rng.random() < 0.35 else None,
            hu=rng.normal(35, 22) + (u(0, 40) if self.blood_hu > 80 else 0),
            texture=_local_field(rng, max(2.0, radii.mean() * 0.7), reach),
            texture_hu=u(3, 20),
            core=(u(0.35, 0.8), -15.0 if rng.random() < 0.6 else -900.0) if cored else None,
            calcified_hu=u(80, 400) if rng.random() < 0.07 else None,
            halo=(u(1.5, 5), u(150, 400)) if d < 35 and rng.random() < 0.12 else None,
            bronchogram=bool(d > 30 and rng.random() < 0.2),
            invades=bool(rng.random() < (0.15 if d < 30 else 0.45)),
        )

    def _place(self, kind: str, radii: np.ndarray) -> np.ndarray:
        rng, lungs = self.rng, self.lungs
        if kind == "pleural":
            return self.edge[rng.integers(len(self.edge))] + rng.normal(0, 0.35, 3) * radii
        if kind == "vascular" and len(lungs.vessels_mm):
            return lungs.vessels_mm[rng.integers(len(lungs.vessels_mm))] + rng.normal(0, 0.4, 3) * radii
        if kind == "mediastinal" and len(lungs.hilum_mm):
            return lungs.hilum_mm[rng.integers(len(lungs.hilum_mm))] + rng.normal(0, 14, 3)
        return self.deep[rng.integers(len(self.deep))].copy()

    def _fits(self, lesion: Lesion) -> bool:
        """A lesion that the pleura cuts to a sliver is a bad label: most of it must lie in the lung."""
        ball = self.rng.normal(size=(300, 3))
        ball *= (self.rng.random((300, 1)) ** (1 / 3)) / np.linalg.norm(ball, axis=1, keepdims=True)
        share = self.lungs.inside(lesion.centre + (ball * lesion.radii) @ lesion.rotation).mean()
        needed = self.rng.uniform(0.45, 0.8) * (0.8 if lesion.diameter_mm > 35 else 1.0)
        return bool(share >= needed)


def _apart(a: Lesion, b: Lesion) -> bool:
    return bool(np.linalg.norm(a.centre - b.centre) > 1.1 * (a.radii.max() + b.radii.max()) + 6)


def _local_field(rng, scale: float, reach: float) -> Field:
    return Field(rng, max(scale, reach / 20), [-reach] * 3, [reach] * 3)


def _spicules(rng, radius: float) -> Tubes:
    n = int(rng.integers(5, 18))
    direction = rng.normal(size=(n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    length = radius * rng.uniform(1.15, 1.75, (n, 1)) + rng.uniform(0, 3, (n, 1))
    return Tubes(direction * radius * 0.7, direction * length, np.full(n, rng.uniform(0.7, 1.8)), np.full(n, 0.3))


def paint_lesion(
    lesion: Lesion, hu: np.ndarray, label: np.ndarray, allowed: np.ndarray, grid: Grid, value: int
) -> None:
    """Paint one tumour into `hu` and write `value` where it fills half a voxel of `label`.

    `allowed` (0..1, on the grid) is where it may grow: the lung, or the lung and a little more.
    """
    box = grid.box(lesion.centre - lesion.reach_mm, lesion.centre + lesion.reach_mm)
    if box is None or min(s.stop - s.start for s in box) < 2:
        return
    here = grid.crop(box)
    local = Grid(*(axis - np.float32(c) for axis, c in zip(here.axes, lesion.centre, strict=True)))
    body, depth_mm = _body(lesion, local)
    core = body * allowed[box]
    solid = body
    if lesion.spicules is not None:
        solid = body.copy()
        paint_tubes(solid, local, lesion.spicules)
    target = hu[box]
    texture = lesion.texture.on(local)
    if lesion.halo is not None:
        width, rise = lesion.halo
        rim = ndimage.gaussian_filter(body, width / local.spacing_mm)
        target += rim * rise * allowed[box] * (target < -300)
    inside = _inside_hu(lesion, depth_mm, texture)
    if lesion.bronchogram:  # airways and air spaces left open in a mass
        inside = np.where(texture > 1.6, -600.0, inside)
    paint(target, solid * allowed[box], inside)
    label[box][core > 0.5] = value


def _body(lesion: Lesion, local: Grid) -> tuple[np.ndarray, np.ndarray]:
    """How much of each voxel the lumpy ellipsoid fills, and the depth below its surface in mm."""
    z, y, x = local.mesh()
    turned = [(r[0] * z + r[1] * y + r[2] * x) / s for r, s in zip(lesion.rotation, lesion.radii, strict=True)]
    rho = np.sqrt(sum(t * t for t in turned)).astype(np.float32)
    rho = rho + 0.7 * lesion.lump_size * lesion.lumps.on(local) * np.minimum(rho, 1.2)
    depth = (1 - rho) * np.float32(lesion.radii.mean())
    return soft(depth, float(local.spacing_mm[1:].mean())), depth


def _inside_hu(lesion: Lesion, depth_mm: np.ndarray, texture: np.ndarray) -> np.ndarray:
    hu = lesion.hu + lesion.texture_hu * texture
    if lesion.core is not None:
        start, value = lesion.core
        paint(hu, soft(depth_mm - start * lesion.radii.mean() + 1.5 * texture), value)
    if lesion.calcified_hu is not None:
        hu += np.clip(texture - 0.8, 0, 2) * lesion.calcified_hu
    return hu
