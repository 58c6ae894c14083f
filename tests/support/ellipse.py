"""An ellipse that lies along the axes of a pixel grid: what is known of its chords."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def chord_mm(ends: npt.ArrayLike, spacing_mm: Sequence[float], radii_mm: npt.ArrayLike) -> float:
    """Its longest chord at right angles to a line between two (row, column) points."""
    start, end = np.asarray(ends) * np.asarray(spacing_mm)
    row_mm, column_mm = (end - start) / np.linalg.norm(end - start)
    return float(2 / np.linalg.norm(np.array([-column_mm, row_mm]) / np.asarray(radii_mm)))


def short_axis_bound(radii_pixels: Sequence[float]) -> float:
    """By how many pixels a short axis may be wrong: 1 + 1/(4 R), R the smallest radius of curvature in pixels."""
    first, second = radii_pixels
    return 1 + max(first / second**2, second / first**2) / 4
