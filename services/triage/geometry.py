"""From the planes of single slices to one regular grid in the patient, or the reason why there is none.

A plane is told as DICOM tells it (PS3.3 C.7.6.2.1.1): the position of its first voxel in mm (LPS), and six direction
cosines, first those along a row, then those down a column. The slices' normal is row x column direction; slices are
sorted along it, and nothing but positions is believed: neither Instance Number nor Slice Thickness nor Spacing Between
Slices. What scanners and converters round away must pass, what would bend the anatomy must not:

- directions: each cosine within 0.001 of the first slice's (0.25 mm at the edge of a 500 mm field), else
  `mixed_orientations`;
- two slices within 0.01 mm along the normal are at one position: `several_volumes` when every position is taken
  equally often (phases, echoes, time points), else `duplicate_positions`;
- gaps: each within 5 % or 0.18 mm (never over 30 %) of the mean, whichever is more: positions rounded to 0.1 mm pass in
  any orientation (0.18 mm is the diagonal of that rounding), and so do steps of 3.19 to 3.29 mm. Whole multiples of
  the usual gap are `missing_slices`, else `variable_spacing`;
- drift: each slice within 25 % of the spacing, or 0.18 mm, of its place on the regular grid, else `variable_spacing`;
- tilt: the stack may lean by 0.3 degrees against its normal, or by 0.18 mm in all if it is short, else `gantry_tilt`;
  it is refused and not resampled, so that every voxel of a volume is one that the scanner made;
- in-plane shifts: each slice within 0.25 mm of its place in its plane, else `shifted_slices`.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.triage.errors import NotAnalysed
from services.triage.study import Stack

Floats = npt.NDArray[np.float64]

COSINE_TOLERANCE = 1e-3
SAME_POSITION_MM = 0.01
GAP_TOLERANCE = 0.05
ROUNDING_MM = 0.18
GAP_TOLERANCE_LIMIT = 0.3
DRIFT_TOLERANCE = 0.25
TILT_TOLERANCE_DEGREES = 0.3
SHIFT_TOLERANCE_MM = 0.25
MIN_SLICES = 3


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A regular grid. `order[k]` is the index, among the planes given, of slice k; affine as in `Volume`."""

    order: tuple[int, ...]
    affine: Floats


def stack_of(positions: npt.ArrayLike, orientation: npt.ArrayLike) -> Stack:
    """The stack that planes of one orientation make; positions: [plane, 3] mm.

    Raises NotAnalysed: bad_geometry, too_few_slices where all of them are at one place.
    """
    along = np.sort(np.asarray(positions, dtype=np.float64) @ normal_of(orientation))
    gaps = np.diff(along)
    gaps = gaps[gaps > SAME_POSITION_MM]
    if not len(gaps):
        raise NotAnalysed("too_few_slices", "all slices are at one place")
    usual = float(np.median(gaps))
    return Stack(places=len(gaps) + 1, gap_mm=usual, length_mm=float(along[-1] - along[0]) + usual)


def normal_of(orientation: npt.ArrayLike) -> Floats:
    """Unit normal (LPS) of a plane: row x column direction of its six cosines.

    Raises NotAnalysed(bad_geometry) when they are no two perpendicular unit vectors.
    """
    cosines = np.asarray(orientation, dtype=np.float64)
    if cosines.shape != (6,) or not np.isfinite(cosines).all():
        raise NotAnalysed("bad_geometry", "Image Orientation (Patient) is not six finite numbers")
    row, column = cosines[:3], cosines[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > 10 * COSINE_TOLERANCE or abs(row @ column) > 10 * COSINE_TOLERANCE:
        raise NotAnalysed("bad_geometry", "Image Orientation (Patient) is not two perpendicular unit vectors")
    normal = np.cross(row, column)
    return np.asarray(normal / np.linalg.norm(normal))


def regular_grid(positions: npt.ArrayLike, orientations: npt.ArrayLike, pixel_spacing_mm: npt.ArrayLike) -> Grid:
    """Sort planes along their normal into one regular grid.

    positions: [plane, 3] mm. orientations: [plane, 6]. pixel_spacing_mm: (between rows, between columns).
    Raises NotAnalysed with the codes above, bad_geometry or too_few_slices.
    """
    places, cosines = np.asarray(positions, dtype=np.float64), np.asarray(orientations, dtype=np.float64)
    spacing = np.asarray(pixel_spacing_mm, dtype=np.float64)
    if not np.isfinite(places).all() or not np.isfinite(spacing).all() or (spacing <= 0).any():
        raise NotAnalysed("bad_geometry", "a position or a pixel spacing is not finite, or a spacing is not positive")
    normal = common_normal(cosines)
    if len(places) < MIN_SLICES:
        raise NotAnalysed(
            "too_few_slices", f"a volume needs at least {MIN_SLICES} slices, the series has {len(places)}"
        )
    along = places @ normal
    order = np.argsort(along, kind="stable")
    _refuse_repeats(along[order])
    _refuse_uneven_gaps(along[order])
    step = (places[order[-1]] - places[order[0]]) / (len(places) - 1)
    _refuse_lean(places[order], normal, step)
    row, column = cosines[order[0], :3], cosines[order[0], 3:]
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = column / np.linalg.norm(column) * spacing[0]
    affine[:3, 2] = row / np.linalg.norm(row) * spacing[1]
    affine[:3, 3] = places[order[0]]
    return Grid(order=tuple(int(index) for index in order), affine=affine)


def common_normal(orientations: npt.ArrayLike) -> Floats:
    """Unit normal (LPS) that all planes share; orientations: [plane, 6]. Raises NotAnalysed(mixed_orientations)."""
    cosines = np.asarray(orientations, dtype=np.float64)
    normal = normal_of(cosines[0])
    parallel = np.abs(cosines - cosines[0]).max(axis=1) <= COSINE_TOLERANCE
    if not parallel.all():
        askew = np.count_nonzero(~parallel)
        raise NotAnalysed("mixed_orientations", f"{askew} of {len(cosines)} slices do not lie parallel to the first")
    return normal


def _refuse_repeats(along: Floats) -> None:
    """`along`: sorted positions along the normal in mm."""
    groups = np.concatenate([[0], np.cumsum(np.diff(along) > SAME_POSITION_MM)])
    counts = Counter(groups.tolist())
    if len(counts) == len(along):
        return
    repeats = set(counts.values())
    where = along[np.searchsorted(groups, next(group for group, count in counts.items() if count > 1))]
    if len(repeats) == 1:
        raise NotAnalysed(
            "several_volumes",
            f"{len(along)} slices at {len(counts)} positions: {repeats.pop()} volumes in one series",
        )
    raise NotAnalysed(
        "duplicate_positions",
        f"{len(along)} slices at {len(counts)} positions: several at {where:.2f} mm along the normal",
    )


def _refuse_uneven_gaps(along: Floats) -> None:
    """`along`: sorted positions along the normal in mm, no two the same."""
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    widest = int(np.argmax(gaps))
    seen = f"gaps of {gaps.min():.2f} to {gaps[widest]:.2f} mm, widest at {along[widest]:.2f} mm along the normal"
    multiples = np.rint(gaps / usual)
    if gaps[widest] > 1.5 * usual and (np.abs(gaps - multiples * usual) <= multiples * _gap_tolerance(usual)).all():
        missing = int(multiples.sum()) - len(gaps)
        raise NotAnalysed("missing_slices", f"gaps between {len(along)} slices leave room for {missing} more: {seen}")
    mean = float(gaps.mean())
    drift = np.abs(along - (along[0] + mean * np.arange(len(along)))).max()
    if np.abs(gaps - mean).max() > _gap_tolerance(mean) or drift > max(DRIFT_TOLERANCE * mean, ROUNDING_MM):
        raise NotAnalysed("variable_spacing", f"slices are not evenly spaced: {seen}")


def _gap_tolerance(gap: float) -> float:
    return max(GAP_TOLERANCE * gap, min(ROUNDING_MM, GAP_TOLERANCE_LIMIT * gap))


def _refuse_lean(places: Floats, normal: Floats, step: Floats) -> None:
    """`places`: [slice, 3] in slice order; `step`: mean way from slice to slice, mm."""
    lean = float(np.linalg.norm(step - (step @ normal) * normal))
    degrees = float(np.degrees(np.arctan2(lean, step @ normal)))
    if degrees > TILT_TOLERANCE_DEGREES and lean * (len(places) - 1) > ROUNDING_MM:
        raise NotAnalysed(
            "gantry_tilt",
            f"slices are stacked {degrees:.1f} degrees off their normal ({lean:.2f} mm per slice)",
        )
    residual = places - (places[0] + np.arange(len(places))[:, None] * step)
    residual -= np.outer(residual @ normal, normal)
    shift = float(np.linalg.norm(residual, axis=1).max())
    if shift > SHIFT_TOLERANCE_MM:
        raise NotAnalysed("shifted_slices", f"a slice lies {shift:.2f} mm beside its place in its own plane")
