"""Ribs, spine, sternum, clavicles, scapulae and arms."""

from __future__ import annotations

import numpy as np
from grid import Grid, paint, soft
from tubes import Tubes, paint_tubes


class Bones:
    """The skeleton around one chest (anything with `a`, `b`, `height`, `taper`, `spine_y`, `spine_radius`)."""

    def __init__(self, rng: np.random.Generator, chest):
        u = rng.uniform
        self.chest = chest
        self.cortex_hu, self.marrow_hu = u(250, 650), u(80, 260)
        self.vertebra_hu, self.disc_hu = u(110, 270), u(60, 110)
        self.pitch_mm, self.disc_mm = u(24, 30), u(4, 7)
        self.canal_hu, self.arch_hu = u(10, 40), u(150, 350)
        self.rib_radius = u(3.2, 5.2)
        self.tubes = [*self._ribs(rng), *self._shoulder()]
        self.sternum = Tubes.chain(
            [[chest.heart_at[0] - 10, -1.02 * chest.b, 0], [0.92 * chest.height, -0.9 * chest.b, 0]], [7, 9]
        )
        self.arms = self._arms(rng) if rng.random() < 0.3 else []

    def _ribs(self, rng) -> list[Tubes]:
        chest, u, ribs = self.chest, rng.uniform, []
        drop, step = u(0.25, 0.6), u(19, 24)
        inset = u(1, 7)  # a small inset lets the rib bulge into the lung
        for k in range(12):
            for side in (-1, 1):
                angle = np.linspace(0.12, u(2.3, 2.9), 26)
                z = 1.02 * chest.height - k * step - 0.9 * drop * chest.b * (1 - np.cos(angle))
                narrow = np.maximum(chest.taper(z), 0.25)
                out = inset + u(0, 3)
                x = side * np.abs(np.sin(angle)) ** (2 / 2.2) * (chest.a * narrow + out)
                y = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / 2.2) * (chest.b * narrow + out)
                ribs.append(Tubes.chain(np.stack([z, y, x], 1), self.rib_radius))
        return ribs

    def _shoulder(self) -> list[Tubes]:
        a, b, h = self.chest.a, self.chest.b, self.chest.height
        bones = []
        for side in (-1, 1):
            bones.append(Tubes.chain([[0.93 * h, -0.75 * b, side * 15], [h, -0.5 * b, side * 0.95 * a]], 5))
            for k in range(4):
                z = h * (0.95 - 0.08 * k)
                bones.append(Tubes.chain([[z, 0.95 * b, side * 0.55 * a], [z, 0.5 * b, side * 1.12 * a]], [4, 3]))
        return bones

    def _arms(self, rng) -> list[tuple[Tubes, Tubes]]:
        """Arms beside the body: (flesh, bone)."""
        arms = []
        for side in (-1, 1):
            x = side * (self.chest.body_a + rng.uniform(30, 55))
            path = [[-180, rng.uniform(-20, 60), x], [self.chest.height + 30, rng.uniform(-20, 60), 0.9 * x]]
            arms.append((Tubes.chain(path, rng.uniform(28, 45)), Tubes.chain(path, rng.uniform(9, 13))))
        return arms

    def paint(self, hu: np.ndarray, lung: np.ndarray, grid: Grid, skin: np.ndarray, z, y, x) -> None:
        """Paint all bones; `lung` loses the voxels that they take."""
        self._paint_arms(hu, grid)
        bone, marrow = np.zeros(grid.shape, np.float32), np.zeros(grid.shape, np.float32)
        for tubes in [*self.tubes, self.sternum]:
            paint_tubes(bone, grid, tubes)
            paint_tubes(marrow, grid, tubes.moved(np.zeros(3), 1.0, -1.6))
        bone *= skin > 3
        paint(hu, bone, self.cortex_hu)
        paint(hu, marrow * (skin > 3), self.marrow_hu)
        lung *= 1 - bone
        self._paint_spine(hu, grid, skin, z, y, x)

    def _paint_arms(self, hu, grid) -> None:
        for flesh, bone in self.arms:
            for tubes, value in ((flesh, 40), (bone, self.cortex_hu)):
                layer = np.zeros(grid.shape, np.float32)
                paint_tubes(layer, grid, tubes)
                paint(hu, layer * (hu < 100), value)

    def _paint_spine(self, hu, grid, skin, z, y, x) -> None:
        chest, voxel = self.chest, float(grid.spacing_mm[1:].mean())
        inside_mm = chest.spine_radius - np.sqrt(x**2 + (0.95 * (y - chest.spine_y)) ** 2)
        body = soft(inside_mm, voxel) * (skin > 5)
        disc = np.mod(z, self.pitch_mm) < self.disc_mm
        paint(hu, body, np.where(disc, self.disc_hu, self.vertebra_hu + 40 * chest.marrow.on(grid)))
        paint(hu, body * (inside_mm < 2) * ~disc, 0.8 * self.cortex_hu)
        behind = y - chest.spine_y - chest.spine_radius
        paint(hu, soft(13 - np.sqrt((x / 1.5) ** 2 + (behind - 8) ** 2), voxel) * (skin > 5), self.arch_hu)
        paint(hu, soft(8 - np.sqrt(x**2 + (behind - 6) ** 2), voxel) * (skin > 5), self.canal_hu)
