"""A real Orthanc with its DICOMweb plugin, on ports of its own, with all it keeps in one folder."""

import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.peers import free_port, wait_until

PROGRAM = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/bin")
DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
AE_TITLE = "ORTHANC"
READY_S = 30.0
PUSH_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Orthanc:
    """A running Orthanc: its REST API, its DICOMweb root, its DICOM address AET@HOST:PORT, its log."""

    rest: str
    dicomweb: str
    address: str
    log: Path

    def upload(self, paths: Iterable[Path]) -> str:
        """Give it instances of one study by REST; answers its own name of the study."""
        for path in paths:
            answer = httpx.post(f"{self.rest}/instances", content=path.read_bytes(), timeout=30)
            answer.raise_for_status()
        return str(answer.json()["ParentStudy"])

    def push(self, study: str, *, to_port: int) -> None:
        """Have it send a study with its own C-STORE client; returns once every instance was taken."""
        peer = {"AET": "VIGIE", "Host": "127.0.0.1", "Port": to_port}
        httpx.put(f"{self.rest}/modalities/vigie", json=peer, timeout=30).raise_for_status()
        answer = httpx.post(f"{self.rest}/modalities/vigie/store", content=study, timeout=PUSH_S)
        answer.raise_for_status()
        assert answer.json()["FailedInstancesCount"] == 0, answer.text


@contextmanager
def orthanc(folder: Path) -> Iterator[Orthanc]:
    """Run Orthanc until the end of the block."""
    assert PROGRAM, "Orthanc is needed: apt-get install orthanc"
    assert DICOMWEB_PLUGIN.exists(), "its DICOMweb plugin is needed: apt-get install orthanc-dicomweb"
    folder.mkdir()
    http, dicom, log = free_port(), free_port(), folder / "orthanc.log"
    configuration = folder / "orthanc.json"
    configuration.write_text(json.dumps(_configuration(folder, http, dicom)))
    # Nagle's algorithm and delayed acknowledgement together cost 40 ms an instance
    environment = {"TCP_NODELAY": "1"}
    with (
        log.open("wb") as output,
        subprocess.Popen([PROGRAM, str(configuration)], stdout=output, stderr=output, env=environment) as process,
    ):
        running = Orthanc(
            rest=f"http://127.0.0.1:{http}",
            dicomweb=f"http://127.0.0.1:{http}/dicom-web",
            address=f"{AE_TITLE}@127.0.0.1:{dicom}",
            log=log,
        )
        try:
            wait_until(lambda: _answers(running, process), timeout_s=READY_S, what=f"Orthanc, see {log}, answering")
            yield running
        finally:
            process.kill()


def _answers(running: Orthanc, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, running.log.read_text(errors="replace")[-2000:]
    try:
        return httpx.get(f"{running.rest}/system", timeout=2).is_success
    except httpx.TransportError:
        return False


def _configuration(folder: Path, http: int, dicom: int) -> dict[str, object]:
    return {
        "Name": "Vigie's test PACS",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(DICOMWEB_PLUGIN)],
        "HttpPort": http,
        "DicomPort": dicom,
        "DicomAet": AE_TITLE,
        # it listens on every address: let only this machine in
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
