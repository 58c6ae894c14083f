"""The healthy procedural chest: body, lungs, mediastinum, heart, diaphragm, abdomen, great vessels, airways, bones.

z = 0 is the lung base at the wall and z = `height` the apex. Every number is drawn once in `Chest.__init__`, so that
the same chest can be painted on any grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from bones import Bones
from grid import Field, Grid, paint, soft
from tubes import Tree, Tubes, grow_tree, paint_tubes

SKETCH_MM = 4.0


@dataclass
class Painting:
    """A chest on a grid: HU, how much of each voxel is lung (vessels count as lung), and two distances."""

    hu: np.ndarray
    lung: np.ndarray
    cavity_mm: np.ndarray  # distance to the chest wall, inside is positive
    dome_mm: np.ndarray  # height above the diaphragm
    vessels: np.ndarray | None = None


class Chest:
    """One random adult chest."""

    def __init__(self, rng: np.random.Generator):
        self.rng, u = rng, rng.uniform
        self.a = u(105, 152)  # half width of the thoracic cavity
        self.b = self.a * u(0.60, 0.80)  # its half depth
        self.height = u(180, 285)
        self.fat_mm = rng.choice([u(3, 12), u(8, 35)])
        self.muscle_mm = u(6, 18)
        self.body_a = self.a + self.fat_mm + 1.5 * self.muscle_mm + 4
        self.body_b = self.b + 1.1 * self.fat_mm + self.muscle_mm + 8
        self.fat_hu, self.muscle_hu = u(-118, -85), u(30, 68)
        self.contrast = rng.random() < 0.5
        self.blood_hu = u(90, 360) if self.contrast else u(28, 55)
        self.vessel_hu = u(40, 350) if self.contrast else u(10, 60)
        self._draw_fields()
        self._draw_shape()
        self.bones = Bones(rng, self)
        self.trees: list[Tree] = []
        self.airway_lumen, self.airway_wall, self.great_vessels = [], [], []
        self.hilum_mm = np.zeros((0, 3))
        self._grow(self.sketch())

    def _draw_fields(self) -> None:
        rng, u = self.rng, self.rng.uniform
        bend = u(45, 95)
        self.bend = [Field(rng, bend) for _ in range(3)]
        self.bend_mm = u(2, 9)
        self.wall_rough, self.wall_rough_mm = Field(rng, u(8, 18)), u(0.2, 1.6)
        self.wall_wave = Field(rng, u(25, 45))
        self.dome_lobes, self.dome_lobes_mm = Field(rng, u(18, 45)), u(0, 6)
        self.mediastinum_wave, self.mediastinum_wave_mm = Field(rng, u(18, 40)), u(2, 5)
        self.tissue, self.streaks = Field(rng, 9), Field(rng, 12)
        self.lung_wide, self.lung_middle, self.lung_fine = Field(rng, 30), Field(rng, 9), Field(rng, 4.5)
        self.marrow = Field(rng, 5)

    def _draw_shape(self) -> None:
        rng, u = self.rng, self.rng.uniform
        self.body_power, self.apex_power, self.shoulder = u(2.1, 2.7), u(2.2, 5), u(0.9, 1.1)
        self.extrapleural_mm = u(0.5, 5)
        self.dome_mm, self.dome_left, self.dome_y = u(25, 85), u(0.55, 1.0), u(-10, 15)
        self.liver_x, self.liver_hu = u(10, 50), u(45, 70) + self.contrast * u(0, 60)
        self.stomach = (u(30, 60), u(-15, 15), u(35, 55), u(30, 55), u(30, 50), u(10, 50))
        self.stomach_air = u(-25, 5) if rng.random() < 0.6 else None
        self.spleen_hu = u(45, 110)
        self.hilum_z = self.height * u(0.48, 0.60)
        self.med_half, self.med_front, self.med_shift = u(16, 40), u(0.3, 0.9), u(-6, 8)
        self.heart_at = np.array([self.dome_mm * 0.8 + u(25, 45), -self.b * u(0.2, 0.45), u(8, 30)])
        self.heart_size, self.heart_tilt = (u(38, 60), u(38, self.b * 0.68), u(50, 78)), u(0.2, 0.7)
        self.pericardium_mm, self.myocardium = u(1, 7), u(0.78, 0.9)
        self.heart_hu = self.blood_hu if rng.random() < 0.8 else u(25, 50)
        self.myocardium_hu = u(40, 110)
        self.spine_y, self.spine_radius = self.b * u(0.72, 0.86), u(16, 24)
        self.paravertebral_mm = u(2, 10)
        self.fat_pads = [
            (u(0, 25), -self.b * u(0.5, 0.85), s * u(25, 60), u(8, 28)) for s in (-1, 1) if rng.random() < 0.7
        ]
        self.air_hu, self.gravity_hu = u(-935, -760), u(0, 120)
        self.texture_hu = (u(5, 28), u(3, 24), u(4, 26))
        self.tissue_level, self.tissue_hu = u(-0.5, 0.9), u(20, 55)
        self.azygos = u(3, 7)
        self.oesophagus_air = u(-600, -100) if rng.random() < 0.4 else None

    # --- surfaces -----------------------------------------------------------------------------------------------

    def bent(self, grid: Grid):
        """The grid's coordinates after the body's random bending."""
        z, y, x = grid.mesh()
        dz, dy, dx = (f.on(grid) for f in self.bend)
        return z + self.bend_mm * dz, y + 0.7 * self.bend_mm * dy, x + self.bend_mm * dx

    def taper(self, z: np.ndarray) -> np.ndarray:
        """How the lungs narrow towards the apex: 1 at the base, 0 at the top."""
        t = np.clip(z / self.height, 0, 1)
        return np.maximum(np.sqrt(np.clip(1 - t**self.apex_power, 0, 1)), 0.02)

    def _surfaces(self, grid: Grid, z, y, x) -> dict[str, np.ndarray]:
        s = self.taper(z)
        cavity = (1 - ((np.abs(x) / self.a) ** 2.2 + (np.abs(y) / self.b) ** 2.2) ** (1 / 2.2) / s) * self.b * s
        cavity += self.wall_rough.on(grid) * self.wall_rough_mm + self.wall_wave.on(grid) * 1.2
        narrow = 1 - 0.45 * np.clip((z / self.height - self.shoulder) / 0.25, 0, 1)
        radius = (np.abs(x) / (self.body_a * narrow)) ** self.body_power + (np.abs(y) / self.body_b) ** self.body_power
        skin = (1 - radius ** (1 / self.body_power)) * self.body_b
        side = np.where(x < 0, 1.0, self.dome_left)
        across = (np.abs(x) - 0.52 * self.a) / (0.62 * self.a)
        dome = self.dome_mm * side * (1 - across**2 - ((y + self.dome_y) / (1.1 * self.b)) ** 2)
        dome = z - dome - self.dome_lobes.on(grid) * self.dome_lobes_mm - 8
        return {"cavity": cavity, "skin": skin, "dome": dome}

    def _mediastinum(self, grid: Grid, z, y, x) -> tuple[np.ndarray, np.ndarray]:
        """Distances: into the mediastinum, and into the heart."""
        half = self.med_half + 10 * np.clip(1 - np.abs(y) / 50, 0, 1)
        half = half + self.mediastinum_wave.on(grid) * self.mediastinum_wave_mm
        half = half * np.where(y < -0.35 * self.b, self.med_front, 1.0)
        middle = half - np.abs(x - self.med_shift)
        hz, hy, hx = self.heart_at
        c, s = np.cos(self.heart_tilt), np.sin(self.heart_tilt)
        along, up = (x - hx) * c - (z - hz) * s, (x - hx) * s + (z - hz) * c
        sz, sy, sx = self.heart_size
        heart = (1 - np.sqrt((along / sx) ** 2 + ((y - hy) / sy) ** 2 + (up / sz) ** 2)) * 45
        heart += self.mediastinum_wave.on(grid) * 1.2
        spine = self.spine_radius - np.sqrt(x**2 + (0.95 * (y - self.spine_y)) ** 2)
        behind = np.where(y > self.spine_y, 16 - np.abs(x), -50)
        rest = np.maximum.reduce([middle, heart + self.pericardium_mm, spine + self.paravertebral_mm, behind])
        for pz, py, px, r in self.fat_pads:
            rest = np.maximum(rest, r - np.sqrt((z - self.dome_mm * 0.6 - pz) ** 2 / 2 + (y - py) ** 2 + (x - px) ** 2))
        return rest.astype(np.float32), heart.astype(np.float32)

    # --- painting -----------------------------------------------------------------------------------------------

    def sketch(self) -> tuple[Grid, np.ndarray]:
        """The lungs on a coarse grid: where vessels and lesions may be put."""
        high = [self.height + 20, self.b + 20, self.a + 20]
        grid = Grid.over([-30, -self.b - 20, -self.a - 20], high, [SKETCH_MM] * 3)
        z, y, x = self.bent(grid)
        surface = self._surfaces(grid, z, y, x)
        rest, _ = self._mediastinum(grid, z, y, x)
        lung = np.minimum.reduce([surface["cavity"], surface["dome"], -rest]) > 0
        return grid, lung

    def paint(self, grid: Grid) -> Painting:
        """The chest with its vessels, airways and bones, without any finding."""
        voxel = float(grid.spacing_mm[1:].mean())
        z, y, x = self.bent(grid)
        surface = self._surfaces(grid, z, y, x)
        skin, cavity_mm, dome_mm = surface["skin"], surface["cavity"], surface["dome"]
        hu = np.full(grid.shape, -1000, np.float32)
        self._paint_wall(hu, grid, skin, cavity_mm, voxel)
        cavity, above = soft(cavity_mm, voxel), soft(dome_mm, voxel)
        self._paint_abdomen(hu, cavity * (1 - above), z, y, x, dome_mm)
        rest_mm, heart_mm = self._mediastinum(grid, z, y, x)
        middle = soft(rest_mm, voxel)
        inside = cavity * above
        tissue = np.where(self.tissue.on(grid) > self.tissue_level, self.tissue_hu, self.fat_hu)
        paint(hu, middle * inside, tissue)
        paint(hu, soft(heart_mm, voxel) * cavity, self.heart_hu)
        muscle = soft(heart_mm, voxel) * soft(45 * (1 - self.myocardium) - heart_mm, voxel)
        paint(hu, muscle * cavity, self.myocardium_hu)
        lung = inside * (1 - middle)
        paint(hu, lung, self._parenchyma(grid, y))
        painting = Painting(hu, lung, cavity_mm, dome_mm)
        self._paint_tubes(painting, grid)
        self.bones.paint(hu, lung, grid, skin, z, y, x)
        return painting

    def _paint_wall(self, hu, grid, skin, cavity_mm, voxel) -> None:
        paint(hu, soft(skin, voxel), self.fat_hu)
        paint(hu, soft(skin, voxel) * (skin < 4), -20)
        muscle = soft(skin - self.fat_mm * (1 + 0.2 * self.wall_wave.on(grid)), voxel)
        paint(hu, muscle, self.muscle_hu)
        streaks = self.streaks.on(grid)
        paint(hu, np.clip((streaks - 1.0) * 3, 0, 1) * (cavity_mm < -6) * muscle, self.fat_hu)
        layer = soft(cavity_mm + self.extrapleural_mm, voxel) * np.clip(0.4 - 0.8 * streaks, 0, 1) * (skin > 2)
        paint(hu, layer, self.fat_hu)

    def _paint_abdomen(self, hu, below, z, y, x, dome_mm) -> None:
        paint(hu, below, self.fat_hu)
        paint(hu, below * (x < self.liver_x) * (dome_mm < -2), self.liver_hu)
        drop, sy, rx, ry, rz, value = self.stomach
        left = 0.52 * self.a
        stomach = ((x - left) / rx) ** 2 + ((y - sy) / ry) ** 2 + ((z - self.dome_mm + drop) / rz) ** 2
        paint(hu, np.clip((1 - stomach) * 12, 0, 1) * below, value)
        if self.stomach_air is not None:
            paint(hu, np.clip((0.75 - stomach) * 12, 0, 1) * below * (y < self.stomach_air), -990)
        spleen = ((x - 1.35 * left) / 28) ** 2 + ((y - 0.5 * self.b) / 32) ** 2 + ((z - self.dome_mm + 45) / 40) ** 2
        paint(hu, np.clip((1 - spleen) * 12, 0, 1) * below, self.spleen_hu)

    def _parenchyma(self, grid, y) -> np.ndarray:
        wide, middle, fine = self.texture_hu
        hu = self.air_hu + self.gravity_hu * (y + self.b) / (2 * self.b)
        return hu + wide * self.lung_wide.on(grid) + middle * self.lung_middle.on(grid) + fine * self.lung_fine.on(grid)

    def _paint_tubes(self, painting: Painting, grid: Grid) -> None:
        hu = painting.hu
        layer = np.zeros(grid.shape, np.float32)
        for tubes in self.great_vessels:
            paint_tubes(layer, grid, tubes)
        paint(hu, layer, self.blood_hu)
        painting.lung *= 1 - layer
        vessels = np.zeros_like(layer)
        for tree in self.trees:
            paint_tubes(vessels, grid, tree.tubes)
        paint(hu, vessels, self.vessel_hu)
        wall, lumen = np.zeros_like(layer), np.zeros_like(layer)
        for tubes in self.airway_wall:
            paint_tubes(wall, grid, tubes)
        for tubes in self.airway_lumen:
            paint_tubes(lumen, grid, tubes)
        paint(hu, wall * (hu < 0), self.airway_wall_hu)
        paint(hu, lumen, -975)
        painting.vessels = np.maximum(vessels, layer)

    # --- trees --------------------------------------------------------------------------------------------------

    def _grow(self, sketch: tuple[Grid, np.ndarray]) -> None:
        grid, lung = sketch
        rng, u = self.rng, self.rng.uniform
        self.airway_wall_hu = u(-150, 40)
        carina = np.array([self.hilum_z + u(15, 30), u(0, 14), 2.0])
        hilum = []
        for side in (-1, 1):
            place = np.argwhere(lung & (np.sign(grid.x) == side)[None, None, :])
            if len(place) < 300:
                continue
            hx = side * u(22, 36)
            for kind in range(2):
                root = np.array([self.hilum_z + u(-12, 12) - 12 * kind, u(-12, 14) - 8 * kind, hx])
                tips = grid.points_mm(place[rng.integers(0, len(place), rng.integers(280, 850))])
                tips += rng.uniform(-2, 2, tips.shape)
                tree = grow_tree(rng, root, tips, u(0.42, 0.85), u(2.35, 3.0), u(0.2, 0.6))
                self.trees.append(tree)
                hilum.append(root)
                trunk = np.stack([root, [self.hilum_z, 0, side * 5]])
                self.great_vessels.append(Tubes.chain(trunk, [min(tree.radii[0], 9.0), u(7, 11)]))
                if kind == 0:
                    self._accompany(tree.tubes)
            self._bronchus(carina, np.array([self.hilum_z + u(-8, 8), u(5, 15), hx]))
        self.hilum_mm = np.array(hilum).reshape(-1, 3)
        self._trunks(carina)

    def _accompany(self, artery: Tubes) -> None:
        """An airway beside every larger artery."""
        rng, u = self.rng, self.rng.uniform
        radius = (artery.r0 + artery.r1) / 2
        large = artery.select(radius > u(0.9, 1.5))
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        offset = (large.r0 + large.r1)[:, None] * direction + 0.3 * direction
        scale, wall = u(0.6, 0.95), u(0.5, 1.2)
        self.airway_wall.append(large.moved(offset, scale, wall))
        self.airway_lumen.append(large.moved(offset, scale))

    def _bronchus(self, carina: np.ndarray, root: np.ndarray) -> None:
        radius = self.rng.uniform(4.5, 7)
        points, radii = np.stack([carina, root]), np.array([radius, 0.8 * radius])
        self.airway_wall.append(Tubes.chain(points, radii + 1.4))
        self.airway_lumen.append(Tubes.chain(points, radii))

    def _trunks(self, carina: np.ndarray) -> None:
        """Trachea, aorta, the vessels of the arch, azygos vein, oesophagus."""
        u, top = self.rng.uniform, self.height + 60
        radius = u(7, 10)
        trachea = np.stack([carina, [top, u(0, 20), u(-4, 4)]])
        self.airway_wall.append(Tubes.chain(trachea, radius + 1.4))
        self.airway_lumen.append(Tubes.chain(trachea, radius))
        spine = self.spine_y - self.spine_radius
        arch, aorta = self.hilum_z + u(25, 50), u(10, 18)
        path = [
            [-120, spine - 8, u(8, 22)],
            [arch, spine - 4, u(18, 30)],
            [arch + 14, 5, 16],
            [arch + 4, -0.3 * self.b, 0],
            [self.heart_at[0] + 20, -0.25 * self.b, 0],
        ]
        self.great_vessels.append(Tubes.chain(path, aorta))
        for x, y, r in ((-22, -20, 8), (-14, -15, 6), (14, -8, 5), (2, -22, 6)):
            self.great_vessels.append(Tubes.chain([[self.hilum_z, y, x], [top, 0.6 * y, 1.3 * x]], [r, 0.8 * r]))
        azygos = [[-60, spine + 2, -8], [self.hilum_z + 20, spine, -10], [self.hilum_z + 32, 0, -20]]
        self.great_vessels.append(Tubes.chain(azygos, self.azygos))
        if self.oesophagus_air is not None:
            self.airway_lumen.append(Tubes.chain([[self.dome_mm, spine - 6, 6], [top, spine - 4, 2]], u(1.5, 4)))
