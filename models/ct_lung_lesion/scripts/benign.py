"""What is no tumour but may look like one: scars, collapse, consolidation, effusion, nodes, bulges, devices."""

from __future__ import annotations

import numpy as np
from grid import Field, Grid, paint, soft
from tubes import Tubes, paint_tubes


class Benign:
    """A random set of benign findings for one chest, drawn once, painted on any grid."""

    def __init__(self, rng: np.random.Generator, chest, lung_points_mm: np.ndarray):
        self.chest, u = chest, rng.uniform

        def pick(n):
            return lung_points_mm[rng.integers(0, len(lung_points_mm), n)]

        self.bands = [(p, _direction(rng), u(8, 28), u(0.8, 2.2), u(-350, 40)) for p in pick(rng.integers(0, 4))]
        self.fissures = [
            (side, chest.height * u(0.42, 0.5), u(0.5, 0.9), Field(rng, 40), u(15, 180)) for side in (-1, 1)
        ]
        self.minor_fissure = (chest.height * u(0.45, 0.55), Field(rng, 40), u(10, 120))
        self.fine, self.patches = Field(rng, 5), Field(rng, u(16, 40))
        self.emphysema = u(0.7, 1.6) if rng.random() < 0.18 else None
        self.ground_glass = (u(1.2, 2.0), u(80, 340)) if rng.random() < 0.25 else None
        self.dependent = (u(0, 10), u(60, 700)) if rng.random() < 0.45 else None
        self.apical = (u(3, 12), u(-200, 40)) if rng.random() < 0.35 else None
        self.effusion = (
            (rng.choice([-1, 1]), u(6, 38), chest.height * u(0.25, 0.8), u(0, 25)) if rng.random() < 0.15 else None
        )
        self.collapse = self._collapse(rng) if rng.random() < 0.22 else None
        self.consolidation = (
            [(p, u(12, 35), Field(rng, u(6, 14)), u(-100, 50)) for p in pick(rng.integers(1, 3))]
            if rng.random() < 0.12
            else []
        )
        self.nodes = self._nodes(rng)
        self.bulges = self._bulges(rng)
        self.plaques = self._plaques(rng)
        self.devices = self._devices(rng)
        self.node_hu = u(20, 70)

    def _collapse(self, rng) -> tuple:
        """A collapsed wedge: the lung beyond a plane through a base or an apex."""
        u, side = rng.uniform, rng.choice([-1, 1])
        if rng.random() < 0.7:
            point = np.array([u(10, 60), u(0.3, 0.7) * self.chest.b, side * u(0.3, 0.6) * self.chest.a])
            normal = np.array([-u(0.2, 1.0), u(0.5, 1.0), -side * u(-0.3, 0.8)])
        else:
            point = np.array([u(0.6, 0.85) * self.chest.height, 0, side * u(20, 45)])
            normal = np.array([u(0.3, 1), u(-0.5, 0.5), -side * u(0.4, 1.0)])
        return side, point, normal / np.linalg.norm(normal), u(20, 70), u(0.5, 1.4), Field(rng, 6), Field(rng, 25)

    def _nodes(self, rng) -> list[tuple[np.ndarray, np.ndarray]]:
        u, level = rng.uniform, self.chest.hilum_z
        middle = [
            (np.array([level + u(-30, 60), u(-25, 25), u(-30, 30)]), u(3, 10, 3)) for _ in range(rng.integers(0, 9))
        ]
        hilar = [
            (root + rng.normal(0, 7, 3), u(3, 8, 3)) for root in self.chest.hilum_mm for _ in range(rng.integers(0, 3))
        ]
        return middle + hilar

    def _bulges(self, rng) -> list[tuple[np.ndarray, np.ndarray]]:
        """Osteophytes and soft bulges beside the spine, and costochondral knobs in front."""
        u, chest, bulges = rng.uniform, self.chest, []
        for _ in range(rng.integers(0, 7)):
            side = rng.choice([-1, 1])
            at = np.array([u(0, chest.height), chest.spine_y - u(-8, 14), side * (chest.spine_radius + u(-5, 3))])
            bulges.append((at, np.array([u(3, 9), u(3, 8), u(3, 8)]), u(30, 500)))
        for _ in range(rng.integers(0, 4)):
            z = u(0.2, 0.95) * chest.height
            s = float(chest.taper(np.array(z)))
            depth, across = u(1.0, 1.03), rng.choice([-1, 1]) * u(0.15, 0.5)
            wall = (1 - abs(across) ** 2.2) ** (1 / 2.2)  # the cavity of Chest: a knob off the wall would be a nodule
            at = np.array([z, -chest.b * s * wall * depth, chest.a * s * across])
            bulges.append((at, u(4, 9, 3), u(40, 400)))
        return bulges

    def _plaques(self, rng) -> list[tuple]:
        """Pleural plaques: flat thickenings of the wall, some of them calcified."""
        u, chest = rng.uniform, self.chest
        if rng.random() > 0.15:
            return []
        return [
            (
                np.array(
                    [u(0.1, 0.8) * chest.height, u(-0.9, 0.9) * chest.b, rng.choice([-1, 1]) * chest.a * u(0.3, 1.0)]
                ),
                u(10, 28),
                u(1.5, 4.5),
                u(20, 80) if rng.random() < 0.6 else u(150, 700),
            )
            for _ in range(rng.integers(1, 7))
        ]

    def _devices(self, rng) -> list[Tubes]:
        """Catheters and wires."""
        if rng.random() > 0.15:
            return []
        u, chest = rng.uniform, self.chest
        path = [[chest.height + 40, -10, u(-30, -15)], [chest.hilum_z, -20, -18], [chest.heart_at[0] + 20, -15, -15]]
        return [Tubes.chain(path, u(1, 2))]

    # --- painting -----------------------------------------------------------------------------------------------

    def paint(self, painting, grid: Grid) -> np.ndarray:
        """Paint everything; the return value is the aerated lung (0..1) that is left."""
        hu, lung = painting.hu, painting.lung
        z, y, x = grid.mesh()
        self._haze(painting, grid, y)
        self._lines(hu, lung, grid, z, y, x)
        airless = self._airless(painting, grid, z, y, x)
        self._lumps(hu, lung, grid)
        for tubes in self.devices:
            layer = np.zeros(grid.shape, np.float32)
            paint_tubes(layer, grid, tubes)
            paint(hu, layer, 900)
        return lung * (1 - airless)

    def _haze(self, painting, grid, y) -> None:
        hu, lung = painting.hu, painting.lung
        aired = lung * (hu < -500)
        if self.emphysema is not None:
            paint(hu, aired * np.clip((self.patches.on(grid) - self.emphysema) * 3, 0, 1), -985)
        if self.ground_glass is not None:
            level, rise = self.ground_glass
            hu += aired * np.clip((self.patches.on(grid) - level) * 2, 0, 1) * rise
        if self.dependent is not None:
            depth, rise = self.dependent
            near = depth - painting.cavity_mm
            hu += aired * np.clip(near / 6 + 0.5 * self.fine.on(grid), 0, 1) * (y > 0.2 * self.chest.b) * rise

    def _lines(self, hu, lung, grid, z, y, x) -> None:
        width = np.float32(max(2.0, grid.spacing_mm[0]))
        for side, level, slope, wave, rise in self.fissures:
            plane = (z - level) * np.cos(slope) + y * np.sin(slope) + 5 * wave.on(grid)
            hu += np.clip(1 - np.abs(plane) / width, 0, 1) * (x * side > 0) * lung * rise
        level, wave, rise = self.minor_fissure
        plane = z - level + 6 * wave.on(grid)
        hu += np.clip(1 - np.abs(plane) / width, 0, 1) * (x < 0) * (y < 10) * lung * rise
        for centre, normal, radius, half, value in self.bands:
            box = grid.box(centre - radius, centre + radius)
            if box is None:
                continue
            away = [a - c for a, c in zip(grid.crop(box).mesh(), centre, strict=True)]
            across = np.abs(sum(d * n for d, n in zip(away, normal, strict=True)))
            reach = radius - np.sqrt(sum(d * d for d in away))
            paint(hu[box], soft(half - across) * np.clip(reach / 6, 0, 1) * lung[box], value)

    def _airless(self, painting, grid, z, y, x) -> np.ndarray:
        """Effusion, collapse, apical caps, consolidation: dense, without being a tumour."""
        hu, lung, airless = painting.hu, painting.lung, np.zeros(grid.shape, np.float32)
        if self.apical is not None:
            depth, value = self.apical
            cap = soft(depth + 3 * self.fine.on(grid) - painting.cavity_mm) * (z > 0.78 * self.chest.height) * lung
            paint(hu, cap, value)
            airless = np.maximum(airless, cap)
        if self.collapse is not None:
            side, point, normal, _, bend, rough, wave = self.collapse
            beyond = sum((a - p) * n for a, p, n in zip((z, y, x), point, normal, strict=True)) + 6 * bend * wave.on(
                grid
            )
            wedge = soft(beyond + rough.on(grid)) * (x * side > 0) * lung
            airy = wedge * (1 - painting.vessels) if painting.vessels is not None else wedge
            paint(hu, airy, 45 + 12 * rough.on(grid))
            airless = np.maximum(airless, wedge)
        for centre, radius, rough, value in self.consolidation:
            far = np.sqrt(sum((a - c) ** 2 for a, c in zip((z, y, x), centre, strict=True)))
            patch = np.clip((radius - far) / 10 + rough.on(grid), 0, 1) * np.clip(0.6 + self.fine.on(grid), 0, 1) * lung
            paint(hu, patch, value)
            airless = np.maximum(airless, patch)
        if self.effusion is not None:
            side, depth, top, value = self.effusion
            rim = soft(depth * np.clip((top - z) / 40, 0, 1) - painting.cavity_mm) * (y > -0.1 * self.chest.b)
            base = soft(0.3 * depth - painting.dome_mm)
            fluid = np.maximum(rim, base) * (x * side > 0) * lung
            paint(hu, fluid, value)
            airless = np.maximum(airless, fluid)
        return airless

    def _lumps(self, hu, lung, grid) -> None:
        for centre, radii in self.nodes:
            _ellipsoid(hu, grid, centre, radii, self.node_hu, 1 - (lung * 0.6), lung)
        for centre, radii, value in self.bulges:
            _ellipsoid(hu, grid, centre, radii, value, np.ones_like(lung), lung)
        for centre, radius, thick, value in self.plaques:
            box = grid.box(centre - radius, centre + radius)
            if box is None:
                continue
            far = np.sqrt(sum((a - c) ** 2 for a, c in zip(grid.crop(box).mesh(), centre, strict=True)))
            near_wall = soft(thick - self._wall_mm(grid.crop(box)))
            paint(hu[box], near_wall * np.clip((radius - far) / 4, 0, 1) * lung[box], value)

    def _wall_mm(self, grid) -> np.ndarray:
        z, y, x = grid.mesh()
        s = self.chest.taper(z)
        return (
            (1 - ((np.abs(x) / self.chest.a) ** 2.2 + (np.abs(y) / self.chest.b) ** 2.2) ** (1 / 2.2) / s)
            * self.chest.b
            * s
        )


def _direction(rng) -> np.ndarray:
    v = rng.normal(size=3)
    return v / np.linalg.norm(v)


def _ellipsoid(hu, grid, centre, radii, value, share, lung) -> None:
    box = grid.box(centre - radii - 3, centre + radii + 3)
    if box is None:
        return
    rho = np.sqrt(sum(((a - c) / r) ** 2 for a, c, r in zip(grid.crop(box).mesh(), centre, radii, strict=True)))
    layer = soft((1 - rho) * radii.mean())
    paint(hu[box], layer * share[box] * (hu[box] < value), value)
    lung[box] *= 1 - layer
