"""Chest phantoms as CT series: one with known lesions, one without; both are committed beside this file.

The bodies come from the phantom generator of the bundle models/ct_lung_lesion, from seeds that it never trains on.

    python -m dicom_samples.phantom --output dicom_samples
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.uid import JPEGLSLossless

from dicom_samples.ct_writer import CtSeries, write_ct_series

GENERATOR = Path(__file__).resolve().parents[1] / "models" / "ct_lung_lesion" / "scripts"
SPACING_MM = (5.0, 2.6, 2.6)
PIXELS = 144


@dataclass(frozen=True, kw_only=True)
class PhantomCase:
    """One phantom study: the seed of its body, how many lesions, and their planned diameters in mm."""

    folder: str
    seed: int
    lesions: int
    smallest_mm: float = 14.0
    largest_mm: float = 32.0
    patient_name: str
    patient_id: str


POSITIVE = PhantomCase(
    folder="phantom_positive",
    seed=2_000_016,
    lesions=2,
    patient_name="Phantom^Positive",
    patient_id="VIGIE-PHANTOM-1",
)
NEGATIVE = PhantomCase(
    folder="phantom_negative",
    seed=2_000_018,
    lesions=0,
    patient_name="Phantom^Negative",
    patient_id="VIGIE-PHANTOM-2",
)


@dataclass(frozen=True, kw_only=True)
class TrueLesion:
    """A lesion as it was painted: centre in LPS mm, diameter of the sphere of equal volume."""

    centre_lps_mm: tuple[float, float, float]
    diameter_mm: float
    volume_ml: float
    kind: str


def write_phantom_study(case: PhantomCase, folder: Path) -> tuple[TrueLesion, ...]:
    """Write one CT series (JPEG-LS lossless) and `truth.json` into `folder`, in place of what lay there."""
    phantom = _generate(case)
    affine = _affine(phantom.spacing_mm, phantom.origin_mm)
    shutil.rmtree(folder, ignore_errors=True)
    write_ct_series(
        CtSeries(
            voxels=phantom.hu,
            affine=affine,
            name=f"phantom/{case.folder}",
            patient_name=case.patient_name,
            patient_id=case.patient_id,
            study_date="20200108",
            study_time="101500",
            source="Procedural phantom",
            source_version=f"ct_lung_lesion seed {case.seed}",
            series_description="Chest phantom, 5 mm",
        ),
        folder,
        transfer_syntax_uid=JPEGLSLossless,
    )
    lesions = _truth(phantom, affine)
    content = {"lesions": [asdict(lesion) for lesion in lesions], "seed": case.seed}
    (folder / "truth.json").write_text(json.dumps(content, indent=2) + "\n")
    return lesions


def _generate(case: PhantomCase) -> Any:
    # the bundle's scripts import each other by bare name, as bundles do
    sys.path.insert(0, str(GENERATOR))
    try:
        generate = import_module("phantom").phantom
    finally:
        sys.path.remove(str(GENERATOR))
    return generate(
        case.seed,
        lesions=case.lesions,
        spacing_mm=SPACING_MM,
        shape=(None, PIXELS, PIXELS),
        smallest_mm=case.smallest_mm,
        largest_mm=case.largest_mm,
    )


def _affine(spacing_mm: Sequence[float], origin_mm: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(slice, row, column, 1) to LPS mm; the generator names its axes z, y, x."""
    affine = np.zeros((4, 4))
    for axis, (step, start) in enumerate(zip(spacing_mm, origin_mm, strict=True)):
        affine[2 - axis, axis] = step
        affine[2 - axis, 3] = start
    affine[3, 3] = 1
    return affine


def _truth(phantom: Any, affine: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[TrueLesion, ...]:
    lesions = []
    for lesion in phantom.lesions:
        centre = affine[:3, :3] @ np.argwhere(phantom.label == lesion["id"]).mean(axis=0) + affine[:3, 3]
        x, y, z = (round(float(value), 1) for value in centre)
        lesions.append(
            TrueLesion(
                centre_lps_mm=(x, y, z),
                diameter_mm=float(lesion["diameter_mm"]),
                volume_ml=round(float(lesion["volume_ml"]), 3),
                kind=str(lesion["kind"]),
            )
        )
    return tuple(lesions)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m dicom_samples.phantom", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--output", type=Path, required=True, help="folder for the two studies")
    options = parser.parse_args(arguments)
    for case in (POSITIVE, NEGATIVE):
        lesions = write_phantom_study(case, options.output / case.folder)
        print(options.output / case.folder, *(f"{lesion.kind} {lesion.diameter_mm} mm" for lesion in lesions), sep=", ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
