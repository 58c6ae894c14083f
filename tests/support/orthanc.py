"""A real Orthanc with its DICOMweb plugin, on ports of its own, with all it keeps in one folder."""

import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.peers import free_port, wait_until

PROGRAM = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/bin")
DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
AE_TITLE = "ORTHANC"
READY_S = 30.0
FORWARD = """
function OnStoredInstance(instanceId, tags, metadata, origin)
  SendToModality(instanceId, 'vigie')
end
"""
DROP = """
function ReceivedInstanceFilter(tags, origin)
  local drops = io.open('%s')
  if drops == nil then return true end
  drops:close()
  return tags.Modality ~= 'SR'
end
"""
PUSH_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Orthanc:
    """A running Orthanc: its REST API, its DICOMweb root, its DICOM address AET@HOST:PORT, its log."""

    rest: str
    dicomweb: str
    address: str
    log: Path
    drops_reports: Path

    def drop_reports(self, dropping: bool = True) -> None:
        """From now on keep no SR, and answer success to each all the same."""
        if dropping:
            self.drops_reports.touch()
        else:
            self.drops_reports.unlink()

    def forward_to(self, port: int) -> None:
        """Say where Vigie listens, for `orthanc(..., forwards=True)` and `push`."""
        peer = {"AET": "VIGIE", "Host": "127.0.0.1", "Port": port}
        httpx.put(f"{self.rest}/modalities/vigie", json=peer, timeout=30).raise_for_status()

    def jobs(self) -> list[str]:
        """The states of its jobs: every forwarding is one."""
        return [str(job["State"]) for job in httpx.get(f"{self.rest}/jobs?expand", timeout=30).json()]

    def kept(self) -> list[str]:
        """The SOP Instance UIDs of what it has, sorted."""
        found = httpx.get(f"{self.rest}/instances?expand", timeout=30).json()
        return sorted(str(one["MainDicomTags"]["SOPInstanceUID"]) for one in found)

    def instances(self) -> int:
        """How many instances it has."""
        return int(httpx.get(f"{self.rest}/statistics", timeout=30).json()["CountInstances"])

    def upload(self, paths: Iterable[Path]) -> str:
        """Give it instances of one study by REST; answers its own name of the study."""
        for path in paths:
            answer = httpx.post(f"{self.rest}/instances", content=path.read_bytes(), timeout=30)
            answer.raise_for_status()
        return str(answer.json()["ParentStudy"])

    def request_commitment(self, study: str) -> str:
        """Ask Vigie, with its own storage commitment SCU, for a study; answers the Transaction UID."""
        answer = httpx.post(
            f"{self.rest}/modalities/vigie/storage-commitment", json={"Resources": [study]}, timeout=PUSH_S
        )
        answer.raise_for_status()
        return str(answer.json()["ID"])

    def commitment(self, transaction_uid: str) -> dict[str, Any]:
        """What it knows of such a request: Status (Pending, Success, Failure), Success, Failures."""
        answer = httpx.get(f"{self.rest}/storage-commitment/{transaction_uid}", timeout=30)
        answer.raise_for_status()
        return dict(answer.json())

    def push(self, study: str, *, to_port: int) -> None:
        """Have it send a study with its own C-STORE client; returns once every instance was taken."""
        self.forward_to(to_port)
        answer = httpx.post(f"{self.rest}/modalities/vigie/store", content=study, timeout=PUSH_S)
        answer.raise_for_status()
        assert answer.json()["FailedInstancesCount"] == 0, answer.text


@contextmanager
def orthanc(
    folder: Path, *, forwards: bool = False, ae_title: str = AE_TITLE, unknown_sop_classes: bool = False
) -> Iterator[Orthanc]:
    """Run Orthanc until the end of the block. forwards: all that it stores, whoever sent it, goes on to Vigie.

    unknown_sop_classes: its C-STORE takes what its DICOM library has never heard of, label maps among them.
    """
    assert PROGRAM, "Orthanc is needed: apt-get install orthanc"
    assert DICOMWEB_PLUGIN.exists(), "its DICOMweb plugin is needed: apt-get install orthanc-dicomweb"
    folder.mkdir()
    http, dicom, log = free_port(), free_port(), folder / "orthanc.log"
    configuration = folder / "orthanc.json"
    settings = _configuration(folder, http, dicom, ae_title, forwards=forwards)
    configuration.write_text(json.dumps(settings | {"UnknownSopClassAccepted": unknown_sop_classes}))
    # Nagle's algorithm and delayed acknowledgement together cost 40 ms an instance
    environment = {"TCP_NODELAY": "1"}
    with (
        log.open("wb") as output,
        subprocess.Popen([PROGRAM, str(configuration)], stdout=output, stderr=output, env=environment) as process,
    ):
        running = Orthanc(
            rest=f"http://127.0.0.1:{http}",
            dicomweb=f"http://127.0.0.1:{http}/dicom-web",
            address=f"{ae_title}@127.0.0.1:{dicom}",
            log=log,
            drops_reports=folder / "drops_reports",
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


def _configuration(folder: Path, http: int, dicom: int, ae_title: str, *, forwards: bool) -> dict[str, object]:
    script = folder / "script.lua"
    script.write_text(DROP % (folder / "drops_reports") + (FORWARD if forwards else ""))
    return {
        "Name": "Vigie's test PACS",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(DICOMWEB_PLUGIN)],
        "HttpPort": http,
        "DicomPort": dicom,
        "DicomAet": ae_title,
        # it listens on every address: let only this machine in
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "LuaScripts": [str(script)],
        "JobsHistorySize": 1000,
        "OverwriteInstances": forwards,  # what is sent again is then forwarded again, too
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
