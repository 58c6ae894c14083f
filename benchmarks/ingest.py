"""C-STORE ingest of a 300-slice CT (152 MB) by dcmsend: Vigie's door beside a floor, dcmtk's storescp and Orthanc.

    .venv/bin/python -m benchmarks.ingest [--rounds N] [--peers NAME,...] [--write docs/measurements/ingest.md]

All receivers in one run, their rounds interleaved, each measurement on a fresh receiver and an empty folder. Nagle's
algorithm costs dcmtk and Orthanc most of their time, so each is shown as it comes and with TCP_NODELAY=1 at both ends.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from rich.console import Console
from rich.progress import track

from tests.support.peers import free_port, listens, wait_until

SLICES = 300
PEERS = ("vigie", "floor", "storescp", "orthanc")
ASSOCIATIONS = (1, 4)
# the targets, against the floor of the same run
SLOWEST_ALONE, LEAST_SPEED_UP = 1.25, 1.5
Key = tuple[str, bool, int]  # (peer, TCP_NODELAY, associations)


def make_ct(folder: Path) -> Path:
    """One study of 300 slices of 512 x 512 int16 noise; answers its folder."""
    folder.mkdir()
    random = np.random.default_rng(1)
    study, series, frame_of_reference = generate_uid(), generate_uid(), generate_uid()
    for number in range(SLICES):
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.FrameOfReferenceUID = frame_of_reference
        image.PatientName, image.PatientID, image.Modality = "Bench^Mark", "B1", "CT"
        image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
        image.PixelSpacing, image.SliceThickness, image.InstanceNumber = [0.7, 0.7], 1, number + 1
        image.Rows = image.Columns = 512
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.RescaleSlope, image.RescaleIntercept = 1, 0
        image.PixelData = random.integers(-1000, 1000, (512, 512), dtype=np.int16).tobytes()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.save_as(folder / f"{number:03}.dcm", enforce_file_format=True)
    return folder


def command(peer: str, port: int, folder: Path) -> list[str]:
    """How to start a receiver that keeps what it gets in this folder."""
    if peer == "vigie":
        door = (
            "from services.gateway.door import run_door; from services.settings import Settings; run_door(Settings())"
        )
        return [sys.executable, "-c", door]
    if peer == "floor":
        return [sys.executable, "-m", "benchmarks.floor", str(port), str(folder)]
    if peer == "storescp":
        return [
            _program("storescp"),
            "--fork",
            "--bit-preserving",
            "--max-pdu",
            "131072",
            "-od",
            str(folder),
            str(port),
        ]
    configuration = {
        "DicomPort": port,
        "HttpServerEnabled": False,
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomAlwaysAllowStore": True,
        "DicomCheckCalledAet": False,
        "Plugins": [],
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    return [_program("Orthanc"), str(folder / "orthanc.json")]


@contextmanager
def receiver(peer: str, *, no_delay: bool, place: Path) -> Iterator[int]:
    """A fresh receiver with an empty folder in `place`; answers its port.

    Its files are emptied, and left to be deleted when all is measured: to make a file, ext4 looks at every inode
    that was deleted in the last minutes, and each receiver would pay for those before it.
    """
    folder, port = Path(tempfile.mkdtemp(dir=place)), free_port()
    environment = environ(no_delay) | {"VIGIE_DATA": str(folder), "VIGIE_DICOM": f"127.0.0.1:{port}"}
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command(peer, port, folder), env=environment, stdout=quiet, stderr=quiet) as process:  # noqa: S603
        try:
            wait_until(lambda: listens(port), what=f"{peer} listening")
            time.sleep(1)  # the probe's own connection has ended
            yield port
        finally:
            process.terminate()
            process.wait(20)
            for path in folder.rglob("*"):
                if path.is_file():
                    os.truncate(path, 0)


def environ(no_delay: bool) -> dict[str, str]:
    """The environment of dcmtk and Orthanc, which reads TCP_NODELAY through dcmtk."""
    plain = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    return plain | {"TCP_NODELAY": "1"} if no_delay else plain


def send(port: int, studies: list[Path], *, no_delay: bool) -> float:
    """Send each study over an association of its own, all at once; seconds until the last has ended."""
    program = [_program("dcmsend"), "--decompress-never", "--scan-directories", "--no-halt", "127.0.0.1", str(port)]
    begin = time.monotonic()
    senders = [subprocess.Popen([*program, str(study)], env=environ(no_delay)) for study in studies]  # noqa: S603
    exits = [sender.wait() for sender in senders]
    if any(exits):
        raise RuntimeError("dcmsend failed: not every instance was acknowledged")
    return time.monotonic() - begin


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed: make system")
    return found


def measure(rounds: int, peers: list[str]) -> dict[Key, list[float]]:
    """Seconds of every round."""
    keys = [(peer, no_delay, count) for count in ASSOCIATIONS for no_delay in (False, True) for peer in peers]
    seconds: dict[Key, list[float]] = {key: [] for key in keys}
    with tempfile.TemporaryDirectory(prefix="ingest-ct-") as temporary:
        place = Path(temporary)
        studies = [make_ct(place / f"study-{number}") for number in range(max(ASSOCIATIONS))]
        for peer, no_delay, count in track(keys * rounds, description="ingest", console=Console(stderr=True)):
            with receiver(peer, no_delay=no_delay, place=place) as port:
                seconds[peer, no_delay, count].append(send(port, studies[:count], no_delay=no_delay))
    return seconds


def table(seconds: dict[Key, list[float]]) -> str:
    """Median and least seconds, and the median's ratio to the floor under the same conditions, in Markdown."""
    lines = ["| associations | TCP_NODELAY | receiver | median s | min s | x floor |", "|---|---|---|---|---|---|"]
    for (peer, no_delay, count), values in sorted(seconds.items(), key=lambda item: (item[0][2], item[0][1])):
        median, floor = statistics.median(values), statistics.median(seconds["floor", no_delay, count])
        switch = "1" if no_delay else "default"
        lines.append(f"| {count} | {switch} | {peer} | {median:.2f} | {min(values):.2f} | {median / floor:.2f} |")
    return "\n".join(lines)


def verdicts(seconds: dict[Key, list[float]]) -> list[str]:
    """The targets, and whether this run met them."""
    lines = []
    for no_delay in (False, True):
        ours = {count: statistics.median(seconds["vigie", no_delay, count]) for count in ASSOCIATIONS}
        floor = {count: statistics.median(seconds["floor", no_delay, count]) for count in ASSOCIATIONS}
        alone, speed_up = ours[1] / floor[1], floor[4] / ours[4]
        where = "with TCP_NODELAY=1" if no_delay else "by default"
        lines += [
            f"- {_met(alone <= SLOWEST_ALONE)}: one association takes {alone:.2f} times the floor {where}"
            f" (at most {SLOWEST_ALONE})",
            f"- {_met(speed_up >= LEAST_SPEED_UP)}: four associations are {speed_up:.2f} times as fast as the floor"
            f" {where} (at least {LEAST_SPEED_UP})",
        ]
        for count in ASSOCIATIONS if ("orthanc", no_delay, 1) in seconds else ():
            orthanc = statistics.median(seconds["orthanc", no_delay, count])
            lines.append(f"- {_met(ours[count] < orthanc)}: faster than Orthanc with {count} associations {where}")
    return lines


def _met(target: bool) -> str:
    return "met" if target else "NOT met"


def main() -> None:
    """Measure, print, and write the page of the documentation if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--peers", default=",".join(peer for peer in PEERS if peer != "orthanc" or shutil.which("Orthanc"))
    )
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    seconds = measure(options.rounds, options.peers.split(","))
    text = "\n".join([table(seconds), "", *verdicts(seconds)])
    sys.stdout.write(text + "\n")
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(
            PAGE.format(date=datetime.now(UTC).date(), rounds=options.rounds, load=load, text=text)
        )


PAGE = """\
# Ingest: a 300-slice CT (152 MB) by C-STORE

Made again by `python -m benchmarks.ingest --write docs/measurements/ingest.md`. Median of {rounds} interleaved rounds
on one machine of 2 cores shared with other work (load average {load:.0f} at the start, {date}): trust the ratios, not
the seconds. Vigie and the floor say success only once file and directory entry are synced; storescp and Orthanc do not
sync. The floor is benchmarks/floor.py, a bare pynetdicom receiver. With four associations, four dcmsend processes send
a study each (608 MB).

{text}
"""


if __name__ == "__main__":
    main()
