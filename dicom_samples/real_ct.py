"""Two real chest CTs with a lung tumour and its reference mask, as valid CT series.

The voxels come from the source package of pyradiomics 3.0.1 on PyPI (BSD-3-Clause): data/lung1_* and lung2_*.

    python -m dicom_samples.real_ct --output DIR
"""

import argparse
import hashlib
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import nrrd  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
import platformdirs
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dicom_samples.ct_writer import CtSeries, write_ct_series

REQUIREMENT = "pyradiomics==3.0.1"
ARCHIVE_SHA256 = "47c57f441d6cb7973fa3b2ea48d3948df78e3348e1c69e1e2ff19001601fc2f5"
INDEX = "https://pypi.org/simple"
CACHE = Path(platformdirs.user_cache_dir("vigie")) / "samples"


class SampleUnavailable(Exception):
    """The source package cannot be fetched, or is not the one that we know."""


@dataclass(frozen=True, kw_only=True)
class RealCase:
    """One patient of the package; name and dates are fictional."""

    stem: str
    folder: str
    patient_name: str
    patient_id: str
    study_date: str
    study_time: str


CASES = (
    RealCase(
        stem="lung1",
        folder="real_lung_one",
        patient_name="Sample^Lung One",
        patient_id="VIGIE-REAL-1",
        study_date="20200106",
        study_time="081500",
    ),
    RealCase(
        stem="lung2",
        folder="real_lung_two",
        patient_name="Sample^Lung Two",
        patient_id="VIGIE-REAL-2",
        study_date="20200107",
        study_time="093000",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A reference mask: `mask` is bool [slice, row, column], `affine` maps (slice, row, column, 1) to LPS mm."""

    mask: npt.NDArray[np.bool_]
    affine: npt.NDArray[np.float64]


def load_reference(path: Path) -> Reference:
    """Read a `reference.npz` beside a written series; its slices lie in the order of their positions."""
    with np.load(path) as arrays:
        return Reference(mask=arrays["mask"].astype(bool), affine=arrays["affine"])


def write_real_studies(output: Path, *, cache: Path, console: Console) -> list[Path]:
    """Write both studies below `output`: folders of CT instances with `reference.npz` beside. Answers the folders.

    What is there already is left as it is. Raises SampleUnavailable.
    """
    folders = [output / case.folder for case in CASES]
    if all((folder / "reference.npz").exists() for folder in folders):
        return folders
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("Fetching pyradiomics 3.0.1 from PyPI (34 MB)", total=None)
        archive = fetch_archive(cache)
        for case, folder in zip(CASES, folders, strict=True):
            progress.update(task, description=f"Writing the CT series of {case.stem}")
            _write_case(archive, case, folder)
    return folders


def fetch_archive(cache: Path) -> Path:
    """The source package, from the cache or from PyPI, its SHA-256 checked. Raises SampleUnavailable."""
    archive = cache / "pyradiomics-3.0.1.tar.gz"
    if archive.exists() and _sha256(archive) == ARCHIVE_SHA256:
        return archive
    cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=cache) as folder:
        fetched = _download(Path(folder))
        if _sha256(fetched) != ARCHIVE_SHA256:
            raise SampleUnavailable(f"{REQUIREMENT} from {INDEX} does not have the SHA-256 {ARCHIVE_SHA256}")
        fetched.replace(archive)
    return archive


def read_nrrd(archive: Path, member: str) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.float64]]:
    """One array of the package as [slice, row, column], and its affine of (slice, row, column, 1) to LPS mm."""
    with TemporaryDirectory() as folder, tarfile.open(archive) as tar:
        name = f"pyradiomics-3.0.1/data/{member}.nrrd"
        tar.extract(name, folder, filter="data")
        voxels, header = nrrd.read(str(Path(folder) / name))
    if header["space"] != "left-posterior-superior":
        raise ValueError(f"{member}: space {header['space']}, want left-posterior-superior")
    affine = np.eye(4)
    # NRRD names the axes fastest first: column, row, slice
    affine[:3, :3] = np.asarray(header["space directions"], dtype=np.float64)[::-1].T
    affine[:3, 3] = header["space origin"]
    return np.ascontiguousarray(voxels.T), affine


def _write_case(archive: Path, case: RealCase, folder: Path) -> None:
    voxels, affine = read_nrrd(archive, f"{case.stem}_image")
    mask, mask_affine = read_nrrd(archive, f"{case.stem}_label")
    if mask.shape != voxels.shape or not np.allclose(mask_affine, affine):
        raise ValueError(f"{case.stem}: image and mask lie on different grids")
    series = CtSeries(
        voxels=voxels,
        affine=affine,
        name=f"real/{case.stem}",
        patient_name=case.patient_name,
        patient_id=case.patient_id,
        study_date=case.study_date,
        study_time=case.study_time,
        source="pyradiomics sample data",
        source_version="3.0.1",
        series_description=f"Chest, {case.stem}, 5 mm",
    )
    write_ct_series(series, folder)
    # last: its presence says that the series is whole
    np.savez_compressed(folder / "reference.npz", mask=mask > 0, affine=affine)


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "unearth", REQUIREMENT, "--no-binary", "--index-url", INDEX, "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    fetched = next(folder.glob("*.tar.gz"), None)
    if done.returncode != 0 or fetched is None:
        cause = (done.stderr.strip().splitlines() or ["no such package there"])[-1]
        raise SampleUnavailable(f"{REQUIREMENT} cannot be fetched from {INDEX}; is this machine offline? ({cause})")
    return fetched


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m dicom_samples.real_ct", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--output", type=Path, required=True, help="folder for the two studies")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for the package (default: %(default)s)")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    try:
        folders = write_real_studies(options.output, cache=options.cache, console=console)
    except SampleUnavailable as error:
        console.print(str(error), style="red")
        return 1
    for folder in folders:
        print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
