"""A viewer that asks a PACS by C-FIND and C-MOVE: dcmtk's findscu, movescu and storescp."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pydicom
from pydicom.dataset import Dataset

from services.backends.senders.destinations import split_address
from tests.support.orthanc import Orthanc
from tests.support.peers import free_port, received, storescp

AE_TITLE = "VIEWER"


@dataclass(frozen=True, kw_only=True)
class Viewer:
    """What a running viewer may ask of one PACS; `folder`: where what it is sent lies, byte for byte."""

    pacs: Orthanc
    port: int
    folder: Path

    def find_series(self, study_instance_uid: str, modality: str = "") -> list[Dataset]:
        """The series of a study that C-FIND answers, at the level SERIES of the Study Root model (PS3.4 C.6.2)."""
        keys = {"StudyInstanceUID": study_instance_uid, "Modality": modality}
        keys |= dict.fromkeys(("SeriesInstanceUID", "SeriesNumber", "SeriesDescription"), "")
        with tempfile.TemporaryDirectory() as answers:
            self._run("findscu", keys, "--extract", "--output-directory", answers)
            return [pydicom.dcmread(path, force=True) for path in sorted(Path(answers).iterdir())]

    def move_series(self, study_instance_uid: str, series_instance_uid: str) -> list[Path]:
        """Have the PACS send a series here by C-MOVE (PS3.4 C.4.2); answers what came."""
        before = set(received(self.folder))
        keys = {"StudyInstanceUID": study_instance_uid, "SeriesInstanceUID": series_instance_uid}
        self._run("movescu", keys, "--move", AE_TITLE)
        return [path for path in received(self.folder) if path not in before]

    def _run(self, program: str, keys: dict[str, str], *options: str) -> None:
        called, host, port = split_address(self.pacs.address)
        command = [program, "--study", "--aetitle", AE_TITLE, "--call", called, *options]
        for key, value in {"QueryRetrieveLevel": "SERIES", **keys}.items():
            command += ["--key", f"{key}={value}" if value else key]
        subprocess.run([*command, host, str(port)], check=True, timeout=60)


@contextmanager
def viewer(pacs: Orthanc, folder: Path) -> Iterator[Viewer]:
    """Run a viewer that the PACS knows, until the end of the block."""
    port = free_port()
    peer = {"AET": AE_TITLE, "Host": "127.0.0.1", "Port": port}
    httpx.put(f"{pacs.rest}/modalities/viewer", json=peer, timeout=30).raise_for_status()
    with storescp(folder, port, "--promiscuous"):
        yield Viewer(pacs=pacs, port=port, folder=folder)
