"""The studies of the demo: two real CTs with a reference mask, a phantom with lesions and one without."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from rich.console import Console

from dicom_samples.real_ct import Reference, SampleUnavailable, load_reference, write_real_studies

SAMPLES = Path(__file__).resolve().parents[1] / "dicom_samples"


@dataclass(frozen=True, kw_only=True)
class TrueLesion:
    """A lesion of a phantom: centre in LPS mm, diameter of the sphere of equal volume."""

    centre_lps_mm: tuple[float, float, float]
    diameter_mm: float


@dataclass(frozen=True, kw_only=True)
class DemoStudy:
    """One study, and what is known of it: a reference mask (real CT) or the painted lesions (phantom)."""

    name: str
    study_instance_uid: str
    paths: tuple[Path, ...]
    reference: Reference | None = field(default=None, repr=False)
    truth: tuple[TrueLesion, ...] | None = None


def demo_studies(*, cache: Path, console: Console) -> list[DemoStudy]:
    """The phantoms that are committed, and the real CTs where PyPI can be reached; if not, it is said so."""
    studies = []
    try:
        folders = write_real_studies(cache / "real_ct", cache=cache, console=console)
        studies = [_study(folder, reference=load_reference(folder / "reference.npz")) for folder in folders]
    except SampleUnavailable as error:
        console.print(f"Without the real CTs: {error}", style="yellow")
    for name in ("phantom_positive", "phantom_negative"):
        lesions = json.loads((SAMPLES / name / "truth.json").read_text())["lesions"]
        truth = tuple(
            TrueLesion(centre_lps_mm=tuple(lesion["centre_lps_mm"]), diameter_mm=lesion["diameter_mm"])
            for lesion in lesions
        )
        studies.append(_study(SAMPLES / name, truth=truth))
    return studies


def _study(
    folder: Path, *, reference: Reference | None = None, truth: tuple[TrueLesion, ...] | None = None
) -> DemoStudy:
    paths = tuple(sorted(folder.glob("*.dcm")))
    header = pydicom.dcmread(paths[0], stop_before_pixels=True)
    return DemoStudy(
        name=folder.name.replace("_", " "),
        study_instance_uid=str(header.StudyInstanceUID),
        paths=paths,
        reference=reference,
        truth=truth,
    )
