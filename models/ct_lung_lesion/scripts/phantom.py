"""Procedural chest phantoms with known tumours: the public entry is `phantom`.

    from phantom import phantom
    p = phantom(7, lesions=2, spacing_mm=(5.0, 1.4, 1.4), shape=(None, 256, 256))
    p.hu          int16 Hounsfield units [slice, row, column]; slices towards the head, rows towards the back,
                  columns towards the patient's left (an axial series in LPS with rising positions)
    p.label       uint8, 0 or the number of the lesion (1..n)
    p.spacing_mm  (between slices, between rows, between columns)
    p.origin_mm   (z, y, x) of the first voxel
    p.lesions     a list of {"id", "kind", "planned_diameter_mm", "diameter_mm", "volume_ml", "voxels"}

The same seed is the same body, lesions included, on every grid. `lesions=None` draws the number (0..7), `lesions=0` is
a body without any. `training_pair` gives a 2 mm isotropic grid that has gone through a scan of random slice thickness.

    python phantom.py --seeds 0 100 --out DIR [--held-out]    writes one .npz per seed
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from acquisition import SLICE_THICKNESSES_MM, Scanner, along_z, linear_weights, slice_weights
from anatomy import Chest
from benign import Benign
from grid import Grid, paint, soft
from lesions import Lesion, LungMap, Planner, paint_lesion

HELD_OUT_SEED = 1_000_000  # seeds from here on are never trained on
CANONICAL_MM = 2.0


@dataclass
class Phantom:
    """A scan of a phantom: see the head of this file."""

    hu: np.ndarray
    label: np.ndarray
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    lesions: list[dict] = field(default_factory=list)
    lung: np.ndarray | None = None


class Body:
    """One chest with its benign findings, its tumours, its table, and how far the scan reaches."""

    def __init__(self, seed: int, lesions: int | None = None, smallest_mm: float = 4.0, largest_mm: float = 120.0):
        rng = np.random.default_rng(seed)
        self.chest = Chest(rng)
        grid, lung = self.chest.sketch()
        points = grid.points_mm(np.argwhere(lung))
        if len(points) < 2000:
            raise ValueError(f"seed {seed} makes a chest without lungs")
        self.benign = Benign(rng, self.chest, points)
        self.scanner = Scanner.draw(rng)
        self.table = self._draw_table(rng) if rng.random() < 0.8 else None
        self.thickness_mm = float(rng.choice(SLICE_THICKNESSES_MM))
        self._draw_reach(rng)
        if lesions is None:
            lesions = int(rng.choice([0, 1, 2, 3, 4, 5, 7], p=[0.12, 0.15, 0.17, 0.2, 0.16, 0.12, 0.08]))
        nodes = np.vstack([tree.nodes for tree in self.chest.trees] or [np.zeros((0, 3))])
        lungs = LungMap(grid, lung, nodes, self.chest.hilum_mm)
        self.lesions: list[Lesion] = Planner(rng, lungs, self.chest.blood_hu).draw(lesions, smallest_mm, largest_mm)

    def _draw_table(self, rng) -> tuple:
        u = rng.uniform
        return self.chest.body_b + u(4, 12), u(300, 1200), u(150, 230), u(-300, 100)

    def _draw_reach(self, rng) -> None:
        """The scanned length and the field of view; some scans cut the body or the lungs."""
        u, chest = rng.uniform, self.chest
        self.z_low, self.z_high = -u(10, 90), chest.height + u(5, 50)
        if rng.random() < 0.15:
            self.z_low = u(0, 0.25) * chest.height
        if rng.random() < 0.1:
            self.z_high = u(0.75, 1.0) * chest.height
        self.fov_mm = 2 * chest.body_a * (u(0.98, 1.2) if rng.random() < 0.8 else u(0.82, 0.98))
        self.fov_y = u(-12, 12)

    def grid(self, spacing_mm, shape=(None, None, None)) -> Grid:
        """The grid of this scan; a given number of slices, rows or columns overrides the drawn reach."""
        half = [None, self.fov_mm / 2, self.fov_mm / 2]
        centre = [(self.z_low + self.z_high) / 2, self.fov_y, 0.0]
        axes = []
        for k in range(3):
            length = self.z_high - self.z_low if k == 0 else 2 * half[k]
            n = shape[k] or max(8, round(length / spacing_mm[k]))
            axes.append((centre[k] + (np.arange(n) - (n - 1) / 2) * spacing_mm[k]).astype(np.float32))
        return Grid(*axes)

    def render(self, grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """HU (float32), lesion numbers (uint8) and lung (float32, tumours included) on the grid, without noise."""
        painting = self.chest.paint(grid)
        lung = painting.lung.copy()
        aerated = self.benign.paint(painting, grid)
        label = np.zeros(grid.shape, np.uint8)
        grown = np.clip(soft(painting.cavity_mm + 5) * soft(painting.dome_mm + 4), 0, 1)
        for number, lesion in enumerate(self.lesions, 1):
            if not _bordered_by_air(lesion, aerated, painting.lung, grid):
                continue
            paint_lesion(lesion, painting.hu, label, grown if lesion.invades else lung, grid, number)
        if self.table is not None:
            self._paint_table(painting.hu, grid)
        return painting.hu, label, np.minimum(lung, np.maximum(aerated, label > 0))

    def _paint_table(self, hu, grid) -> None:
        at, curve, half, value = self.table
        _, y, x = grid.mesh()
        sheet = np.clip(1.2 - np.abs(y - at + x**2 / (2 * curve)) / 2, 0, 1) * (np.abs(x) < half)
        paint(hu, sheet * (hu < -900), value)

    def describe(self, label: np.ndarray, spacing_mm) -> list[dict]:
        """What was really painted, from the label; a lesion outside the scan is left out."""
        voxel_ml, counts, found = float(np.prod(spacing_mm)) / 1000, np.bincount(label.ravel(), minlength=256), []
        for number, lesion in enumerate(self.lesions, 1):
            if counts[number]:
                volume = float(counts[number]) * voxel_ml
                found.append(
                    {
                        "id": number,
                        "kind": lesion.kind,
                        "planned_diameter_mm": round(lesion.diameter_mm, 1),
                        "diameter_mm": round(float(np.cbrt(6000 * volume / np.pi)), 1),
                        "volume_ml": round(volume, 4),
                        "voxels": int(counts[number]),
                    }
                )
        return found


def _bordered_by_air(lesion: Lesion, aerated: np.ndarray, lung: np.ndarray, grid: Grid) -> bool:
    """Whether most of the lung that the lesion would take holds air: a tumour drowned in collapse cannot be told."""
    box = grid.box(lesion.centre - lesion.radii.mean() - 4, lesion.centre + lesion.radii.mean() + 4)
    return box is not None and float(aerated[box].sum()) > 0.6 * float(lung[box].sum())


def phantom(
    seed: int,
    *,
    lesions: int | None = None,
    spacing_mm=None,
    shape=(None, None, None),
    smallest_mm: float = 4.0,
    largest_mm: float = 120.0,
) -> Phantom:
    """One scan of the body of this seed, as a scanner would store it.

    `spacing_mm` is (slice thickness = distance, row, column); None draws a thickness and uses 2 mm pixels.
    """
    body = Body(seed, lesions, smallest_mm, largest_mm)
    spacing = tuple(float(s) for s in (spacing_mm or (body.thickness_mm, CANONICAL_MM, CANONICAL_MM)))
    grid = body.grid(spacing, shape)
    parts = max(1, int(np.ceil(spacing[0] / 2.5)))  # a slice is the mean of several thin layers
    step = spacing[0] / parts
    thin_z = (grid.z[:, None] + (np.arange(parts) - (parts - 1) / 2)[None] * step).ravel().astype(np.float32)
    hu, label, lung = body.render(Grid(thin_z, grid.y, grid.x))

    def average(v):
        return v.reshape(len(grid.z), parts, *v.shape[1:]).mean(axis=1, dtype=np.float32)

    slices = body.scanner.expose(average(hu), spacing)
    labels = _majority(label, len(grid.z), parts)
    return Phantom(
        _stored(slices),
        labels,
        spacing,
        tuple(float(v) for v in grid.origin_mm),
        body.describe(labels, spacing),
        (average(lung) > 0.5),
    )


def _majority(label: np.ndarray, slices: int, parts: int) -> np.ndarray:
    """The lesion that fills at least half of a thick slice's layers."""
    layers = label.reshape(slices, parts, *label.shape[1:])
    out = np.zeros((slices, *label.shape[1:]), np.uint8)
    for number in np.unique(label)[1:]:
        out[(layers == number).mean(axis=1) >= 0.5] = number
    return out


def training_pair(seed: int, lesions: int | None = None) -> Phantom:
    """A 2 mm isotropic volume after a scan of random slice thickness; the label is that of the body itself."""
    body = Body(seed, lesions)
    spacing = (CANONICAL_MM,) * 3
    grid = body.grid(spacing)
    hu, label, lung = body.render(grid)
    t = body.thickness_mm
    slices_z = np.arange(grid.z[0] + t / 2 - 1, grid.z[-1] - t / 2 + 1 + 1e-3, max(t, 1.0))
    hu = along_z(slice_weights(grid.z, slices_z, t), hu)
    hu = along_z(linear_weights(slices_z, grid.z), body.scanner.expose(hu, (t, *spacing[1:])))
    return Phantom(
        _stored(hu), label, spacing, tuple(float(v) for v in grid.origin_mm), body.describe(label, spacing), lung > 0.5
    )


def _stored(hu: np.ndarray) -> np.ndarray:
    return np.clip(np.round(hu), -1024, 3071).astype(np.int16)


def save(path: Path, p: Phantom) -> None:
    """Atomic, uncompressed: volumes are read many times."""
    part = path.with_suffix(".part.npz")
    np.savez(
        part,
        hu=p.hu,
        label=p.label,
        lung=p.lung,
        spacing_mm=p.spacing_mm,
        origin_mm=p.origin_mm,
        lesions=json.dumps(p.lesions),
    )
    part.rename(path)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Write procedural chest phantoms as .npz files.")
    parser.add_argument("--seeds", type=int, nargs=2, required=True, metavar=("FIRST", "END"))
    parser.add_argument("--step", type=int, default=1, help="take every n-th seed (for parallel processes)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--held-out",
        action="store_true",
        help="scans on their own slices, every second one without lesion, seeds apart from training",
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for seed in range(*args.seeds, args.step):
        path = args.out / f"{'heldout' if args.held_out else 'phantom'}_{seed:05d}.npz"
        if path.exists():
            continue
        started = time.monotonic()
        try:
            if args.held_out:
                p = phantom(HELD_OUT_SEED + seed, lesions=0 if seed % 2 else 1 + seed % 3)
            else:
                p = training_pair(seed)
        except ValueError as reason:
            print(reason, flush=True)
            continue
        save(path, p)
        sizes = [lesion["diameter_mm"] for lesion in p.lesions]
        print(f"{path.name} {p.hu.shape} {time.monotonic() - started:.1f} s, lesions {sizes} mm", flush=True)


if __name__ == "__main__":
    main()
