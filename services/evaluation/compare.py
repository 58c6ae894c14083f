"""One study: what the model found against what is true, as a record, lesion by lesion."""

from collections.abc import Mapping
from dataclasses import dataclass

import cc3d
import numpy as np
import numpy.typing as npt
import torch
from monai.metrics import compute_surface_dice

from services.triage.uncertainty import Spread, Uncertainty
from services.triage.volume import Volume
from services.worker.lesions import Candidates, Labels

HIT = 0.1
"""A candidate hits a lesion when a tenth of either lies in the other."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrueLesion:
    """One 26-connected piece of the reference. score: of the best candidate that hits it, 0 where none does.

    diameter_mm: of the sphere of equal volume. dice: with all candidates that hit it, at `detect`.
    """

    volume_ml: float
    diameter_mm: float
    score: float
    dice: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One candidate of the model, and whether it hits any lesion. spread: None where no mirrored runs were made."""

    score: float
    volume_ml: float
    hit: bool
    spread: Spread | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyRecord:
    """What a study adds to the figures. dice, surface_dice: of all that reaches `detect`; None: nothing on either side.

    groups: of the study, by attribute. cautions: codes. uncertainty: None where mirrored runs were not asked for.
    """

    study_instance_uid: str
    series_instance_uid: str
    lesions: tuple[TrueLesion, ...]
    candidates: tuple[Candidate, ...]
    dice: float | None
    surface_dice: float | None
    reference_ml: float
    found_ml: float
    groups: Mapping[str, str]
    cautions: tuple[str, ...]
    seconds: float
    uncertainty: Uncertainty | None = None

    @property
    def score(self) -> float:
        """Of the best candidate."""
        return max((one.score for one in self.candidates), default=0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The part of a record that masks tell."""

    lesions: tuple[TrueLesion, ...]
    candidates: tuple[Candidate, ...]
    dice: float | None
    surface_dice: float | None
    reference_ml: float
    found_ml: float


def compare(
    candidates: Candidates, reference: Mask, volume: Volume, *, detect: float, tolerance_mm: float
) -> Comparison:
    """Candidates against a reference on the same grid; `detect`: what reaches it counts as found."""
    truth = cc3d.connected_components(reference, connectivity=26)
    found = candidates.label_map_of([one for one in candidates.lesions if one.score >= detect]) > 0
    hits = hits_of(candidates.label_map, truth)
    voxel_ml = volume.voxel_volume_mm3 / 1000
    return Comparison(
        lesions=tuple(
            _lesion(number, truth, candidates, hits, detect, voxel_ml) for number in range(1, truth.max() + 1)
        ),
        candidates=tuple(
            Candidate(
                score=one.score,
                volume_ml=one.volume_ml,
                hit=any(mine == one.number for mine, _ in hits),
                spread=one.spread,
            )
            for one in candidates.lesions
        ),
        dice=dice(found, reference),
        surface_dice=surface_dice(found, reference, volume.spacing_mm, tolerance_mm),
        reference_ml=float(np.count_nonzero(reference)) * voxel_ml,
        found_ml=float(np.count_nonzero(found)) * voxel_ml,
    )


def hits_of(candidates: Labels, truth: npt.NDArray[np.integer]) -> set[tuple[int, int]]:
    """Pairs (candidate, lesion) of two label maps that hit each other."""
    both = (candidates > 0) & (truth > 0)
    pairs, shared = np.unique(np.stack([candidates[both], truth[both]]).astype(np.int64), axis=1, return_counts=True)
    sizes = [np.bincount(labels.ravel()) for labels in (candidates, truth)]
    return {
        (int(mine), int(theirs))
        for (mine, theirs), count in zip(pairs.T, shared, strict=True)
        if count >= HIT * min(sizes[0][mine], sizes[1][theirs])
    }


def _lesion(
    number: int,
    truth: npt.NDArray[np.integer],
    candidates: Candidates,
    hits: set[tuple[int, int]],
    detect: float,
    voxel_ml: float,
) -> TrueLesion:
    mask = truth == number
    mine = [one for one in candidates.lesions if (one.number, number) in hits]
    found = np.isin(candidates.label_map, [one.number for one in mine if one.score >= detect])
    volume_ml = float(np.count_nonzero(mask)) * voxel_ml
    return TrueLesion(
        volume_ml=volume_ml,
        diameter_mm=float(np.cbrt(6000 * volume_ml / np.pi)),
        score=max((one.score for one in mine), default=0.0),
        dice=dice(found, mask) or 0.0,
    )


def dice(one: Mask, other: Mask) -> float | None:
    """Dice's coefficient; None where both are empty."""
    total = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
    return None if total == 0 else 2 * int(np.count_nonzero(one & other)) / total


def surface_dice(one: Mask, other: Mask, spacing_mm: tuple[float, float, float], tolerance_mm: float) -> float | None:
    """Normalised surface distance (Nikolov 2018) in MONAI's code; None where both are empty, 0 where one is."""
    if not one.any() and not other.any():
        return None
    if not one.any() or not other.any():
        return 0.0
    box = tuple(
        slice(max(0, int(along[0]) - 1), int(along[-1]) + 2)
        for axis in range(3)
        for along in [
            np.flatnonzero((one | other).any(axis=tuple(other_axis for other_axis in range(3) if other_axis != axis)))
        ]
    )
    first, second = (torch.from_numpy(np.ascontiguousarray(mask[box]))[None, None].float() for mask in (one, other))
    score = compute_surface_dice(first, second, [tolerance_mm], include_background=True, spacing=list(spacing_mm))
    return float(score[0, 0])
