"""Training volumes in memory, and the patches drawn from them.

Volumes are stored [slice, row, column] (LPS); here they become [x, y, z] in RAS at 2 mm, as the bundle's preprocessing
makes them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cc3d
import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

BODY_MARGIN = 6
MAX_SHAPE = (216, 168, 200)
COARSE_SMALLEST_VOXELS = 110  # 12 mm across at 2 mm: the coarse branch is not asked for anything smaller
COARSE_WEIGHT = 4.0


def to_ras(volume: np.ndarray) -> np.ndarray:
    """[slice, row, column] in LPS to [x, y, z] in RAS."""
    return np.ascontiguousarray(volume.transpose(2, 1, 0)[::-1, ::-1])


class Sample:
    """One training volume at 2 mm with its lesions, and a 4 mm copy for the coarse branch."""

    def __init__(self, path: Path, loss: dict, rng: np.random.Generator):
        with np.load(path) as stored:
            hu, label, lung = (to_ras(stored[name]) for name in ("hu", "label", "lung"))
        box = _body_box(hu)
        self.hu, label, lung = hu[box].copy(), label[box], lung[box]
        self.parts = cc3d.connected_components(label, connectivity=26).astype(np.uint8)
        counts = np.bincount(self.parts.ravel())
        counts[0] = 0
        stats = cc3d.statistics(self.parts)
        present = [i for i in range(1, len(counts)) if counts[i] >= 3 and _visible(self.hu, self.parts, i, stats)]
        self.parts[~np.isin(self.parts, present)] = 0
        self.centres = np.array([stats["centroids"][i] for i in present]).reshape(-1, 3)
        self.sizes = counts[present].astype(float)
        self.weights = np.ones(len(counts), np.float32)
        self.weights[1:] = np.clip(
            (loss["small_lesion_voxels"] / np.maximum(counts[1:], 1)) ** 0.4, 1, loss["small_lesion_weight"]
        )
        places = np.argwhere(lung[::2, ::2, ::2]) * 2
        self.lung_places = places[rng.integers(0, len(places), 4000)].astype(np.int16)
        self.coarse_probability: np.ndarray | None = None  # uint8 at 4 mm, filled before the fine stage
        self._make_coarse(lung)

    def _make_coarse(self, lung: np.ndarray) -> None:
        even = [s // 2 * 2 for s in self.hu.shape]
        cut = tuple(slice(0, e) for e in even)
        image = torch.from_numpy(self.hu[cut].astype(np.float32))[None, None]
        self.coarse_hu = functional.avg_pool3d(image, 2)[0, 0].numpy().astype(np.int16)
        filled = torch.from_numpy((self.parts[cut] > 0).astype(np.float32))[None, None]
        self.coarse_label = functional.avg_pool3d(filled, 2)[0, 0].numpy() >= 0.4
        aired = functional.max_pool3d(torch.from_numpy(lung[cut].astype(np.float32))[None, None], 2)[0, 0].numpy()
        self.coarse_lung = ndimage.binary_dilation(aired > 0)
        biggest = functional.max_pool3d(torch.from_numpy(self.parts[cut].astype(np.float32))[None, None], 2)[
            0, 0
        ].numpy()
        self.coarse_parts = biggest.astype(np.uint8) * self.coarse_label
        sizes = np.bincount(self.parts.ravel())
        self.coarse_weights = np.where(sizes >= COARSE_SMALLEST_VOXELS, np.float32(COARSE_WEIGHT), np.float32(0))
        self.coarse_weights[0] = 1
        self.coarse_odds = np.where(self.sizes >= COARSE_SMALLEST_VOXELS, self.sizes, 0) ** 0.4


def _visible(hu: np.ndarray, parts: np.ndarray, number: int, stats: dict) -> bool:
    """Whether at least a tenth of the lesion's rim borders on air: one drowned in airless lung cannot be told."""
    box = tuple(slice(max(0, b.start - 3), b.stop + 3) for b in stats["bounding_boxes"][number])
    inside = parts[box] == number
    rim = ndimage.binary_dilation(inside, iterations=2) & ~inside
    return bool((hu[box][rim] < -450).mean() >= 0.1)


def _body_box(hu: np.ndarray) -> tuple[slice, ...]:
    """The body with a small margin, at even positions, and never larger than `MAX_SHAPE`."""
    tissue = ndimage.binary_opening(hu[::4, ::4, ::4] > -400)
    box = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        hit = np.nonzero(tissue.any(others))[0] * 4
        low = max(0, int(hit[0]) - BODY_MARGIN) // 2 * 2 if len(hit) else 0
        high = min(hu.shape[axis], int(hit[-1]) + 4 + BODY_MARGIN) if len(hit) else hu.shape[axis]
        spare = max(0, high - low - MAX_SHAPE[axis]) // 4 * 2
        box.append(slice(low + spare, min(high - spare, low + spare + MAX_SHAPE[axis])))
    return tuple(box)


class Pool:
    """All volumes of some folders; real backgrounds are counted apart so that they can be given their own share."""

    def __init__(
        self, folders: list[Path], loss: dict, seed: int, limit: int | None = None, without: str | None = None
    ):
        paths = sorted(p for folder in folders for p in folder.glob("*.npz") if ".part" not in p.name)
        paths = [p for p in paths if without is None or not p.name.startswith(without)][:limit]
        with ThreadPoolExecutor(2) as readers:
            self.samples = list(
                readers.map(lambda n, p: Sample(p, loss, np.random.default_rng([seed, n])), range(len(paths)), paths)
            )
        self.real = [s for s, p in zip(self.samples, paths, strict=True) if p.name.startswith("lung")]
        self.phantoms = [s for s, p in zip(self.samples, paths, strict=True) if not p.name.startswith("lung")]

    def pick(self, rng: np.random.Generator, real_share: float) -> Sample:
        """A random volume, with the given share of real backgrounds."""
        group = self.real if self.real and (not self.phantoms or rng.random() < real_share) else self.phantoms
        return group[rng.integers(len(group))]


def cut(volume: np.ndarray, low: np.ndarray, size, fill) -> np.ndarray:
    """The patch of `size` at `low`; what lies outside is filled."""
    out = np.full(tuple(size), fill, volume.dtype)
    first, last = np.maximum(low, 0), np.minimum(low + size, volume.shape)
    if (last > first).all():
        inner = tuple(slice(a - o, b - o) for a, b, o in zip(first, last, low, strict=True))
        out[inner] = volume[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
    return out


def coarse_patch(pool: Pool, rng, stage: dict, augment: dict, window) -> tuple[np.ndarray, ...]:
    """Image, label and weight at 4 mm; the patch holds a good part of a chest. Small lesions weigh nothing."""
    sample, size = pool.pick(rng, stage["real_share"]), np.array(stage["patch"])
    slack = np.array(sample.coarse_hu.shape) - size
    low = np.floor(rng.uniform(np.minimum(slack, 0) - 6, np.maximum(slack, 0) + 7)).astype(int)
    if rng.random() < stage["lesion_centred"]:
        for _ in range(10):
            if sample.coarse_odds.any():
                break
            sample = pool.pick(rng, stage["real_share"])
        if sample.coarse_odds.any():
            k = rng.choice(len(sample.coarse_odds), p=sample.coarse_odds / sample.coarse_odds.sum())
            low = np.round(sample.centres[k] / 2 - size / 2 + rng.uniform(-0.35, 0.35, 3) * size).astype(int)
    parts = cut(sample.coarse_parts, low, size, 0)
    image = cut(sample.coarse_hu, low, size, -1024).astype(np.float32)
    if rng.random() < augment["airless"]:
        image, parts = _without_air(rng, image, cut(sample.coarse_lung, low, size, False)), np.zeros_like(parts)
    layers = [image, (parts > 0).astype(np.float32), sample.coarse_weights[parts]]
    return _finish(rng, layers, stage, augment, window, noise_scale=0.4)


def fine_patch(pool: Pool, rng, stage: dict, augment: dict, window) -> tuple[np.ndarray, ...]:
    """Image, label, weight and coarse probability at 2 mm."""
    sample, size = pool.pick(rng, stage["real_share"]), np.array(stage["patch"])
    low = np.round(_centre(sample, rng, stage, size) - size / 2).astype(int)
    high = np.maximum(np.array(sample.hu.shape) - size + 8, -8)
    low = np.clip(low, -8, high) // 2 * 2
    parts = cut(sample.parts, low, size, 0)
    image = cut(sample.hu, low, size, -1024).astype(np.float32)
    coarse = _coarse_context(sample, low, size)
    if rng.random() < stage["coarse_dropout"]:
        coarse = coarse * np.float32(rng.uniform(0, 0.5))
    if rng.random() < augment["airless"]:
        lung = cut(sample.coarse_lung, low // 2, size // 2, False).repeat(2, 0).repeat(2, 1).repeat(2, 2)
        image, parts = _without_air(rng, image, lung), np.zeros_like(parts)
    layers = [image, (parts > 0).astype(np.float32), sample.weights[parts], coarse]
    return _finish(rng, layers, stage, augment, window, noise_scale=1.0)


def _without_air(rng, hu: np.ndarray, lung: np.ndarray) -> np.ndarray:
    """The patch with its lungs turned to flesh: where no air is near, there is no lung lesion, whatever the shape."""
    flesh = ndimage.gaussian_filter(rng.standard_normal(hu.shape, dtype=np.float32), rng.uniform(0.5, 4))
    flesh = rng.uniform(-90, 70) + flesh * (rng.uniform(5, 40) / flesh.std())
    return np.where(lung & (hu < rng.uniform(-250, 0)), flesh, hu).astype(np.float32)


def _centre(sample: Sample, rng, stage, size) -> np.ndarray:
    chance, share = rng.random(), stage["centred_on"]
    if chance < share["lesion"] and len(sample.centres):
        odds = sample.sizes**0.1  # small lesions are drawn nearly as often as large ones
        k = rng.choice(len(odds), p=odds / odds.sum())
        return sample.centres[k] + rng.uniform(-0.3, 0.3, 3) * size
    if chance < share["lesion"] + share["lung"]:
        return sample.lung_places[rng.integers(len(sample.lung_places))] + rng.integers(-8, 9, 3)
    return rng.random(3) * sample.hu.shape


def _coarse_context(sample: Sample, low, size) -> np.ndarray:
    """The cached 4 mm probability, upsampled as the network does it."""
    if sample.coarse_probability is None:
        return np.zeros(tuple(size), np.float32)
    around = cut(sample.coarse_probability, low // 2 - 1, size // 2 + 2, 0).astype(np.float32) / 255
    up = functional.interpolate(torch.from_numpy(around)[None, None], scale_factor=2, mode="trilinear")[0, 0].numpy()
    return up[2:-2, 2:-2, 2:-2]


def _finish(rng, layers, stage, augment, window, noise_scale) -> tuple[np.ndarray, ...]:
    for axis, chance in enumerate(stage["flip"]):
        if rng.random() < chance:
            layers = [np.flip(layer, axis) for layer in layers]
    layers[0] = _scale(rng, layers[0], augment, window, noise_scale)
    return tuple(np.ascontiguousarray(layer, dtype=np.float32)[None] for layer in layers)


def _scale(rng, hu, augment, window, noise_scale) -> np.ndarray:
    hu = hu + rng.uniform(-1, 1) * augment["shift_hu"]
    if rng.random() < 0.3:
        hu = hu + rng.standard_normal(hu.shape, dtype=np.float32) * rng.uniform(2, augment["noise_hu"]) * noise_scale
    image = np.clip((hu - window[0]) / (window[1] - window[0]), 0, 1).astype(np.float32)
    return image ** np.float32(rng.uniform(*augment["gamma"])) if rng.random() < 0.3 else image
