"""Small synthetic chest CTs, and for each what must come of it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from services.backends import part10
from tests.support.ct import ct_series, write_series

MODEL = "bright_spot"  # tests/support/bundle.py: marks what is brighter than 300 HU
SHAPE = (8, 24, 24)
PATIENT_NAME, PATIENT_ID = "Chaos^Nobody", "CHAOS-4711"

# Kind of study -> the state in which the work list must show it at the end, and its result's outcome.
EXPECTED: dict[str, tuple[str, str | None]] = {
    "lesion": ("analysed", "found"),
    "clean": ("analysed", "nothing_found"),
    "out_of_scope": ("out_of_scope", None),
    "not_analysable": ("not_analysed", "not_analysed"),
}
_WEIGHTS = {"lesion": 5, "clean": 3, "out_of_scope": 1, "not_analysable": 1}


@dataclass(frozen=True, kw_only=True)
class Study:
    """One study to send. `files`: path -> SHA-256 of its data set after group 2, the identity of an instance."""

    uid: str
    kind: str
    files: dict[Path, str]


def make_study(kind: str, folder: Path, *, seed: int) -> Study:
    """Write one study of this kind."""
    series = _series(kind, seed)
    for dataset in series:
        dataset.PatientName, dataset.PatientID = PATIENT_NAME, PATIENT_ID
    paths = write_series(series, folder)
    files = {path: part10.digest(path.read_bytes()) for path in paths}
    return Study(uid=str(series[0].StudyInstanceUID), kind=kind, files=files)


def draw_kind(dice: random.Random) -> str:
    """A kind, lesions most often."""
    return dice.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]


def _series(kind: str, seed: int) -> Sequence[Dataset]:
    noise = np.random.default_rng(seed).integers(-20, 20, SHAPE)
    voxels = np.full(SHAPE, -900.0) + noise
    if kind == "lesion":
        voxels[3:6, 8:15, 8:15] = 500 + noise[3:6, 8:15, 8:15]
    if kind == "out_of_scope":
        return ct_series(voxels, modality="MR", intercept=0, signed=True, seed=seed)
    if kind == "not_analysable":
        return ct_series(voxels[:2], seed=seed)  # fewer slices than the rule wants
    return ct_series(voxels, seed=seed)
