"""From a body to a scan: reconstruction kernel, slice profile, noise, calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

SLICE_THICKNESSES_MM = (0.7, 1.0, 1.25, 2.0, 2.5, 3.0, 5.0)


@dataclass(frozen=True)
class Scanner:
    """One acquisition: drawn once, applied to a volume of any spacing."""

    blur_mm: float  # standard deviation of the kernel in the slice plane
    sharpen: float  # strength of an edge-enhancing kernel
    noise_hu: float  # at 2 mm pixels
    noise_grain_mm: float
    offset_hu: float
    gain: float
    seed: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Scanner:
        """Draw a scanner at random."""
        u = rng.uniform
        return cls(
            u(0.3, 1.2),
            u(0.4, 1.5) if rng.random() < 0.35 else 0.0,
            u(3, 32),
            u(0.4, 1.6),
            u(-15, 15),
            u(0.97, 1.03),
            int(rng.integers(2**31)),
        )

    def expose(self, hu: np.ndarray, spacing_mm) -> np.ndarray:
        """`hu` [slice, row, column] as this scanner would reconstruct it, float32."""
        rng = np.random.default_rng(self.seed)
        sigma = self.blur_mm / np.asarray(spacing_mm)[1:]
        out = ndimage.gaussian_filter(hu, (0, *sigma), truncate=3)
        if self.sharpen:
            out = out + self.sharpen * (out - ndimage.gaussian_filter(out, (0, *(1.8 * sigma)), truncate=3))
        out += self._noise(rng, hu.shape, spacing_mm)
        return (out + 1000) * self.gain - 1000 + self.offset_hu

    def _noise(self, rng, shape, spacing_mm) -> np.ndarray:
        noise = rng.standard_normal(shape, dtype=np.float32)
        grain = self.noise_grain_mm / np.asarray(spacing_mm)[1:]
        noise = ndimage.gaussian_filter(noise, (0, *grain), truncate=2.5)
        level = self.noise_hu / noise.std()
        slices = level * (1 + 0.25 * rng.standard_normal((shape[0] + 8, 1, 1), dtype=np.float32))
        slices = ndimage.uniform_filter1d(slices, 8, axis=0)[4:-4]
        return noise * slices


def slice_weights(z_mm: np.ndarray, centres_mm: np.ndarray, thickness_mm: float) -> np.ndarray:
    """Rows that average the positions `z_mm` into slices: a box profile with soft ends."""
    step = z_mm[1] - z_mm[0]
    overlap = np.clip((thickness_mm / 2 + step / 2 - np.abs(z_mm[None] - centres_mm[:, None])) / step, 0, 1)
    overlap += 1e-6 * (np.abs(z_mm[None] - centres_mm[:, None]) <= step)
    return (overlap / overlap.sum(1, keepdims=True)).astype(np.float32)


def linear_weights(z_mm: np.ndarray, at_mm: np.ndarray) -> np.ndarray:
    """Rows that interpolate samples at `z_mm` (evenly spaced) linearly at `at_mm`, clamped at the ends."""
    position = np.clip((at_mm - z_mm[0]) / (z_mm[1] - z_mm[0]), 0, len(z_mm) - 1)
    return np.clip(1 - np.abs(position[:, None] - np.arange(len(z_mm))[None]), 0, 1).astype(np.float32)


def along_z(weights: np.ndarray, volume: np.ndarray) -> np.ndarray:
    """Apply the rows of `weights` along the first axis."""
    return (weights @ volume.reshape(volume.shape[0], -1)).reshape(-1, *volume.shape[1:])
