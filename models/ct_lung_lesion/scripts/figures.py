"""The figures of the model card: sensitivity by size and slice thickness, false lesions, thresholds, reliability."""

from __future__ import annotations

import itertools

import numpy as np

SIZE_BANDS_MM = ((4, 6), (6, 10), (10, 30), (30, 120))
THICKNESS_BANDS_MM = ((0.0, 1.5), (1.5, 3.5), (3.5, 6.0))
WANTED_SENSITIVITY = {"6-10": 0.6, "10-30": 0.9}
WANTED_SPECIFICITY = 0.9


def wilson(hits: int, total: int) -> list[float]:
    """95 % confidence interval of a share (Wilson 1927)."""
    if total == 0:
        return [0.0, 1.0]
    z, p = 1.96, hits / total
    centre = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z * np.sqrt(p * (1 - p) / total + z * z / (4 * total**2)) / (1 + z * z / total)
    return [round(max(0.0, float(centre - half)), 3), round(min(1.0, float(centre + half)), 3)]


def share(hits: int, total: int) -> dict:
    """A count, its share and the interval of the share."""
    return {"hits": hits, "of": total, "share": round(hits / total, 3) if total else None, "ci95": wilson(hits, total)}


def bootstrap(values: list[float], statistic, seed: int = 1, draws: int = 1000) -> list[float]:
    """95 % interval of a statistic by resampling."""
    if not values:
        return []
    rng, data = np.random.default_rng(seed), np.asarray(values, dtype=float)
    made = [statistic(data[rng.integers(0, len(data), len(data))]) for _ in range(draws)]
    return [round(float(v), 3) for v in np.percentile(made, [2.5, 97.5])]


def study_score(study: dict) -> float:
    """The score of the best candidate, 0 without any."""
    return max((c["score"] for c in study["candidates"]), default=0.0)


def false_lesions(study: dict, detect: float) -> int:
    """Candidates at or above `detect` that touch no lesion."""
    return sum(1 for c in study["candidates"] if c["score"] >= detect and not c["hits"])


def band_of(value: float, bands) -> tuple[float, float] | None:
    """The band that a value falls into."""
    return next((band for band in bands if band[0] <= value < band[1]), None)


def name_of(band) -> str:
    """The name of a band."""
    return f"{band[0]:g}-{band[1]:g}"


def lesions_of(studies: list[dict]) -> list[dict]:
    """All lesions, each with its study's slice thickness."""
    return [{**lesion, "thickness_mm": study["thickness_mm"]} for study in studies for lesion in study["lesions"]]


def by_size(studies: list[dict], detect: float) -> dict:
    """Sensitivity and Dice for each band of diameters."""
    table = {}
    for band in SIZE_BANDS_MM:
        group = [lesion for lesion in lesions_of(studies) if band_of(lesion["diameter_mm"], SIZE_BANDS_MM) == band]
        table[name_of(band)] = _row(group, detect)
    return table


def by_thickness(studies: list[dict], detect: float) -> dict:
    """The same for slices of different thickness, lesions of 6 to 30 mm."""
    table = {}
    for band in THICKNESS_BANDS_MM:
        group = [
            lesion
            for lesion in lesions_of(studies)
            if band_of(lesion["thickness_mm"], THICKNESS_BANDS_MM) == band and 6 <= lesion["diameter_mm"] < 30
        ]
        chosen = [s for s in studies if band_of(s["thickness_mm"], THICKNESS_BANDS_MM) == band]
        rate = np.mean([false_lesions(s, detect) for s in chosen]) if chosen else float("nan")
        table[name_of(band)] = {**_row(group, detect), "studies": len(chosen), "false_per_study": round(float(rate), 2)}
    return table


def _row(group: list[dict], detect: float) -> dict:
    found = [lesion for lesion in group if lesion["score"] >= detect]
    dice = [lesion["dice"] if lesion["score"] >= detect else 0.0 for lesion in group]
    return {
        **share(len(found), len(group)),
        "median_dice": round(float(np.median(dice)), 3) if dice else None,
        "median_dice_ci95": bootstrap(dice, np.median),
        "median_dice_of_found": round(float(np.median([v["dice"] for v in found])), 3) if found else None,
    }


def study_figures(studies: list[dict], threshold: float) -> dict:
    """How a threshold on the study score parts studies with a lesion from those without."""
    ill = [s for s in studies if s["lesions"]]
    well = [s for s in studies if not s["lesions"]]
    flagged = sum(study_score(s) >= threshold for s in studies)
    return {
        "sensitivity": share(sum(study_score(s) >= threshold for s in ill), len(ill)),
        "specificity": share(sum(study_score(s) < threshold for s in well), len(well)),
        "flag_rate": share(flagged, len(studies)),
    }


def false_per_study(studies: list[dict], detect: float) -> dict:
    """Mean, interval and extremes of the false lesions."""
    counts = [false_lesions(s, detect) for s in studies]
    return {
        "mean": round(float(np.mean(counts)), 3),
        "ci95": bootstrap(counts, np.mean),
        "most": int(max(counts)),
        "at_most_two": share(sum(c <= 2 for c in counts), len(counts)),
    }


def froc(studies: list[dict], steps: int = 60) -> list[dict]:
    """Sensitivity for 6-30 mm against false lesions per study, over thresholds."""
    group = [lesion for lesion in lesions_of(studies) if 6 <= lesion["diameter_mm"] < 30]
    curve = []
    for threshold in np.linspace(0.5, 1.0, steps):
        rate = float(np.mean([false_lesions(s, threshold) for s in studies]))
        hit = sum(lesion["score"] >= threshold for lesion in group)
        curve.append(
            {
                "threshold": round(float(threshold), 3),
                "false_per_study": round(rate, 3),
                "sensitivity": round(hit / max(1, len(group)), 3),
            }
        )
    return curve


def reliability(studies: list[dict]) -> list[dict]:
    """How often a candidate of a given score is a true lesion (on phantoms, which says nothing of patients)."""
    candidates = [c for s in studies for c in s["candidates"]]
    edges, rows = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0001], []
    for low, high in itertools.pairwise(edges):
        group = [c for c in candidates if low <= c["score"] < high]
        if group:
            true = sum(bool(c["hits"]) for c in group)
            rows.append(
                {
                    "low": low,
                    "high": min(high, 1.0),
                    "mean_score": round(float(np.mean([c["score"] for c in group])), 3),
                    **share(true, len(group)),
                }
            )
    return rows


def lowest(grid: np.ndarray, holds: np.ndarray) -> float:
    """The lowest threshold at which a wish holds; the highest there is, if it holds at none."""
    return float(grid[np.argmax(holds)] if holds.any() else grid[-1])


def choose_thresholds(studies: list[dict]) -> dict[str, float]:
    """Thresholds from tuning studies.

    detect: the lowest score with at most one false lesion per study on average, half of what is allowed.
    urgent: the lowest study score with the wanted specificity, with a margin of 2 % of the studies; 0.999 at most.
    elevated: halfway between both.
    equivocal_low: the lowest score with at most two false lesions per study.
    """
    grid = np.round(np.arange(0.5, 0.9995, 0.005), 4)
    rate = np.array([np.mean([false_lesions(s, t) for s in studies]) for t in grid])
    detect = lowest(grid, rate <= 1.0)
    low = lowest(grid, rate <= 2.0)
    well = sorted(study_score(s) for s in studies if not s["lesions"])
    needed = min(len(well) - 1, int(np.ceil((WANTED_SPECIFICITY + 0.02) * len(well))))
    urgent = max(detect, float(np.ceil(well[needed] * 1000 + 1) / 1000)) if well else 0.95
    urgent = min(urgent, 0.999)
    if low >= detect:
        low = max(0.5, detect - 0.1)
    return {
        "equivocal_low": round(low, 3),
        "detect": round(detect, 3),
        "elevated": round((detect + urgent) / 2, 3),
        "urgent": round(urgent, 3),
    }
