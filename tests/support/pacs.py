"""A study of several series for a PACS that is asked, and the PACS's table in a file of VIGIE_PACS."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import httpx
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from services.backends.pacs import Pacs, load_pacs
from services.backends.senders.destinations import split_address
from services.settings import Settings
from tests.support.ct import ct_series, write_series
from tests.support.orthanc import Orthanc

DAY = date(2026, 3, 14)


def chest(*, slices: int = 20, day: date = DAY, **attributes: object) -> list[Dataset]:
    """A CT series that the shipped rules claim, of a study of its own unless `study_uid` is given."""
    return ct_series(slices=slices, StudyDate=f"{day:%Y%m%d}", BodyPartExamined="CHEST", **attributes)  # type: ignore[arg-type]


def picture(of: Dataset) -> list[Dataset]:
    """A secondary capture in the study of an image: an object that a PACS has and routing does not look at."""
    (one,) = ct_series(slices=1, study_uid=of.StudyInstanceUID, StudyDate=of.StudyDate, Modality="OT", series_number=9)
    one.SOPClassUID = SecondaryCaptureImageStorage
    one.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    return [one]


def upload(pacs: Orthanc, series: Sequence[Dataset], folder: Path) -> None:
    """Put a series into Orthanc by REST."""
    pacs.upload(write_series(list(series), folder / str(series[0].SeriesInstanceUID)))


def empty(pacs: Orthanc) -> None:
    """Take everything out of Orthanc."""
    for study in httpx.get(f"{pacs.rest}/studies", timeout=30).json():
        httpx.delete(f"{pacs.rest}/studies/{study}", timeout=30).raise_for_status()


def pacs_file(path: Path, address: str, *, name: str = "archive", **keys: object) -> Path:
    """A file of one PACS."""
    lines = [f"[{name}]", f'address = "{address}"']
    lines += [f"{key} = {_toml(value)}" for key, value in keys.items()]
    path.write_text("\n".join(lines))
    return path


def one_pacs(path: Path, address: str, **keys: object) -> Pacs:
    """The PACS of such a file."""
    (pacs,) = load_pacs(Settings(pacs=pacs_file(path, address, **keys)))
    return pacs


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(_toml(each) for each in value)}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def push(address: str, images: Sequence[Dataset], folder: Path, *, sender: str = "CT1") -> None:
    """Send images to AET@HOST:PORT with dcmtk, as a scanner would."""
    program = shutil.which("storescu")
    assert program, "dcmtk is needed: apt-get install dcmtk"
    called, host, port = split_address(address)
    files = write_series(list(images), folder / generate_uid())
    command = [program, "-aet", sender, "-aec", called, host, str(port), *map(str, files)]
    subprocess.run(command, check=True, env=os.environ | {"TCP_NODELAY": "1"})
