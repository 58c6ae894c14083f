"""Lesions in real lungs: two public chest CTs, their own tumour painted over, warped, with synthetic tumours put in.

The two CTs are `lung1` and `lung2` of the pyradiomics 3.0.1 source distribution (BSD licence). Fetch and unpack it with

    unearth 'pyradiomics==3.0.1' --no-binary -d DIR      (sha256 below is checked)
    python real_background.py --archive DIR/pyradiomics-3.0.1.tar.gz --seeds 0 120 --out REAL_DIR

Every file is named after its CT, so that a training run can leave one out (train.py --without lung1).
"""

from __future__ import annotations

import argparse
import hashlib
import io
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import cc3d
import nrrd
import numpy as np
import torch
from acquisition import Scanner
from grid import Field, Grid
from lesions import LungMap, Planner, paint_lesion
from phantom import Phantom, save
from scipy import ndimage
from torch.nn import functional

ARCHIVE_SHA256 = "47c57f441d6cb7973fa3b2ea48d3948df78e3348e1c69e1e2ff19001601fc2f5"
NAMES = ("lung1", "lung2")
VOXEL_MM = 2.0


def read_case(archive: Path, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """HU and tumour label [slice, row, column] in LPS, and the spacing in mm."""
    if hashlib.sha256(archive.read_bytes()).hexdigest() != ARCHIVE_SHA256:
        raise ValueError("not the pyradiomics 3.0.1 source distribution")
    volumes = []
    with tarfile.open(archive) as tar:
        for kind in ("image", "label"):
            member = next(m for m in tar.getmembers() if m.name.endswith(f"data/{name}_{kind}.nrrd"))
            with tempfile.NamedTemporaryFile(suffix=".nrrd") as copy:
                copy.write(io.BytesIO(tar.extractfile(member).read()).getvalue())
                copy.flush()
                data, header = nrrd.read(copy.name)
            volumes.append(data.transpose(2, 1, 0))
    spacing = np.diag(header["space directions"])[::-1]
    return volumes[0].astype(np.int16), (volumes[1] > 0).astype(np.uint8), spacing


@dataclass(frozen=True)
class Background:
    """One real CT at 2 mm: HU, its own tumour (grown by a margin), and the lungs with what lies inside them."""

    hu: np.ndarray
    tumour: np.ndarray
    hull: np.ndarray


def prepare(archive: Path, name: str) -> Background:
    """Read one CT and bring it to 2 mm."""
    hu, label, spacing = read_case(archive, name)
    factors = spacing / VOXEL_MM
    hu = ndimage.zoom(hu.astype(np.float32), factors, order=1)
    label = ndimage.zoom(label.astype(np.float32), factors, order=1) > 0.2
    tumour = ndimage.binary_dilation(label, iterations=3)
    padded = np.pad(_lungs(hu) | tumour, 4)
    hull = ndimage.binary_closing(padded, iterations=4)[4:-4, 4:-4, 4:-4]
    return Background(hu, tumour & hull, hull)


def _lungs(hu: np.ndarray) -> np.ndarray:
    """Large air spaces inside the body."""
    body = cc3d.largest_k(ndimage.binary_opening(hu > -350, iterations=2).astype(np.uint8), k=1) > 0
    inside = np.stack([ndimage.binary_fill_holes(plane) for plane in body])
    parts = cc3d.connected_components(((hu < -500) & inside).astype(np.uint8))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    keep = [i for i in np.argsort(sizes)[::-1][:4] if sizes[i] * VOXEL_MM**3 > 100_000]
    return np.isin(parts, keep)


def _warped(rng: np.random.Generator, case: Background) -> Background:
    """The CT scaled by 0.85 to 1.18 on each axis and bent."""
    shape = np.minimum(np.round(np.array(case.hu.shape) * rng.uniform(0.85, 1.18, 3)).astype(int), [190, 190, 215])
    grid = Grid(*(np.arange(n, dtype=np.float32) * VOXEL_MM - 150 for n in shape))
    flow = functional.affine_grid(torch.eye(3, 4)[None], (1, 1, *shape.tolist()), align_corners=False)
    bend, strength = rng.uniform(40, 90), rng.uniform(0, 0.025, 3)
    flow = (
        flow
        + torch.from_numpy(np.stack([Field(rng, bend).on(grid) * s for s in strength], -1).astype(np.float32))[None]
    )

    def sample(volume, outside=0.0):
        moved = torch.from_numpy(volume.astype(np.float32) - outside)[None, None]
        return functional.grid_sample(moved, flow, mode="bilinear", align_corners=False)[0, 0].numpy() + outside

    return Background(sample(case.hu, -1024.0), sample(case.tumour) > 0.3, sample(case.hull) > 0.5)


def _without_tumour(rng: np.random.Generator, case: Background) -> np.ndarray:
    """The HU with the CT's own tumour replaced by lung taken from elsewhere in the same CT."""
    soft = np.clip(1.3 * ndimage.gaussian_filter(case.tumour.astype(np.float32), 0.7), 0, 1)
    lung = case.hu[case.hull & (case.hu < -750) & ~case.tumour]
    grain = ndimage.gaussian_filter(rng.standard_normal(case.hu.shape, dtype=np.float32), 0.8)
    fill = np.median(lung) + grain / grain.std() * min(lung.std(), 30)
    return case.hu * (1 - soft) + soft * fill


def training_pair(seed: int, case: Background) -> Phantom:
    """One warped copy of the CT with 0 to 9 synthetic tumours."""
    rng = np.random.default_rng([90, seed])
    case = _warped(rng, case)
    hu = _without_tumour(rng, case).astype(np.float32)
    hull = case.hull & (hu < 150)
    grid = Grid(*(np.arange(n, dtype=np.float32) * VOXEL_MM for n in hu.shape))
    solid = grid.points_mm(np.argwhere(hull & (hu > -400)))
    solid = solid[rng.integers(0, len(solid), 500)]
    middle = hu.shape[2] * VOXEL_MM / 2
    hilum = solid[np.argsort(np.abs(solid[:, 2] - middle) + rng.normal(0, 8, 500))[:25]]
    count = int(rng.choice([0, 1, 2, 3, 5, 7, 9], p=[0.12, 0.13, 0.15, 0.2, 0.15, 0.15, 0.1]))
    label = np.zeros(hu.shape, np.uint8)
    allowed = ndimage.gaussian_filter(hull.astype(np.float32), 0.5)
    for number, lesion in enumerate(Planner(rng, LungMap(grid, hull, solid, hilum)).draw(count), 1):
        paint_lesion(lesion, hu, label, allowed, grid, number)
    hu = _rescanned(rng, hu)
    spacing = (VOXEL_MM,) * 3
    return Phantom(hu, label, spacing, (0.0, 0.0, 0.0), [], hull)


def _rescanned(rng, hu: np.ndarray) -> np.ndarray:
    """A little more noise and blur; the CT already has its own."""
    scanner = Scanner.draw(rng)
    weak = Scanner(
        scanner.blur_mm * 0.6,
        0.0,
        scanner.noise_hu * 0.6,
        scanner.noise_grain_mm,
        scanner.offset_hu,
        scanner.gain,
        scanner.seed,
    )
    return np.clip(np.round(weak.expose(hu, (VOXEL_MM,) * 3)), -1024, 3071).astype(np.int16)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Put synthetic tumours into warped copies of two public chest CTs.")
    parser.add_argument("--archive", type=Path, required=True, help="pyradiomics-3.0.1.tar.gz")
    parser.add_argument("--seeds", type=int, nargs=2, required=True, metavar=("FIRST", "END"))
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    cases = {name: prepare(args.archive, name) for name in NAMES}
    for seed in range(*args.seeds):
        name, started = NAMES[seed % 2], time.monotonic()
        path = args.out / f"{name}_{seed:05d}.npz"
        if not path.exists():
            made = training_pair(seed, cases[name])
            save(path, made)
            lesions = len(np.unique(made.label)) - 1
            print(f"{path.name} {made.hu.shape} {time.monotonic() - started:.1f} s, {lesions} lesions", flush=True)


if __name__ == "__main__":
    main()
