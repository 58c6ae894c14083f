"""A data folder of real Part 10 files in a real store, as door and worker leave it; and the desk on it as a process."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file

from services.backends.files import FolderStudyFiles
from services.backends.headers import read_instance
from services.backends.store import SqlStudyStore, open_store
from services.triage.finding import Outcome
from services.triage.job import JobPlan, OrderPriority, Plan
from services.triage.result import Result, ResultObject
from services.triage.study import Instance
from services.worker.report import write_report
from tests.support.ct import ct_series
from tests.support.lesion_case import a_model, finding_of, volume_of_series
from tests.support.peers import free_port, listens, wait_until
from tests.support.records import QUIET, after, lease_next
from tests.support.warm import Program

RUN_DESK = """
from services.gateway.app import run_http
from services.gateway.role import Role
from services.logs import configure_logging
from services.settings import Settings
configure_logging(Settings().log_level)
run_http(Settings(), Role.DESK)
"""


@dataclass(frozen=True, kw_only=True)
class RunningDesk:
    """A desk that answers."""

    url: str
    process: Program

    @property
    def dicomweb(self) -> str:
        """The root of DICOMweb."""
        return f"{self.url}/dicomweb"

    def peak_memory_mb(self) -> float:
        """The most that the process ever held (VmHWM)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1000


@dataclass
class Shelf:
    """Keeps files and records them; `now` moves on with each."""

    folder: Path
    database_url: str = ""
    store: SqlStudyStore = field(init=False)
    files: FolderStudyFiles = field(init=False)
    _seconds: int = 0

    def __post_init__(self) -> None:
        self.database_url = self.database_url or f"sqlite:///{self.folder / 'vigie.sqlite'}"
        self.store = open_store(self.database_url)
        self.files = FolderStudyFiles(self.folder)

    def keep(self, *contents: bytes) -> list[Instance]:
        """Keep Part 10 files."""
        instances = [read_instance(content) for content in contents]
        for instance, content in zip(instances, contents, strict=True):
            self.files.keep(content, digest=instance.digest, received_from="CT1")
        self._seconds += 1
        self.store.record([(instance, "CT1") for instance in instances], now=after(self._seconds))
        self.files.settle([instance.digest for instance in instances])
        return instances

    def analysed(self, series: Sequence[Dataset], outcome: Outcome = Outcome.FOUND) -> tuple[ResultObject, ...]:
        """Keep a CT series and freeze the result of its newest version; answers the result's objects."""
        self.keep(*map(part10_bytes, series))
        uid = str(series[0].StudyInstanceUID)
        (version,) = (
            one
            for one in self.store.quiet_versions(now=after(self._seconds + 3600), quiet_period=QUIET)
            if one.study_instance_uid == uid
        )
        plan = Plan(jobs=(JobPlan(model_name="lung", series_instance_uid=str(series[0].SeriesInstanceUID)),))
        seen = len(self.store.instances(version))
        now = after(self._seconds)
        assert self.store.complete(version, plan, priority=OrderPriority.ROUTINE, seen=seen, now=now)
        lease, _ = lease_next(self.store, at=self._seconds)
        volume, model = volume_of_series(series), a_model()
        finding, labels = finding_of(outcome, volume)
        objects = write_report(finding, model=model, headers=series, volume=volume, label_map=labels, now=now)
        result = Result(
            model=model.identity,
            series_instance_uid=str(series[0].SeriesInstanceUID),
            finding=finding,
            objects=objects,
            timings_s={},
        )
        digests = [self.files.keep_result(one.content) for one in objects]
        self.store.freeze(lease, result, sha256s=digests, destinations=[], now=now)
        return objects

    @contextmanager
    def served(self, *, log: Path | None = None) -> Iterator[RunningDesk]:
        """The desk on this folder, as a process."""
        port = free_port()
        environment = {
            **os.environ,
            "VIGIE_DATA": str(self.folder),
            "VIGIE_DATABASE_URL": self.database_url,
            "VIGIE_HTTP": f"127.0.0.1:{port}",
        }
        with (log or Path(os.devnull)).open("wb") as stderr:
            process = Program(RUN_DESK, env=environment, stderr=stderr)
            try:
                wait_until(lambda: listens(port) or process.poll() is not None, what="the desk listening")
                yield RunningDesk(url=f"http://127.0.0.1:{port}", process=process)
            finally:
                process.kill()
                process.wait()


def part10_bytes(dataset: Dataset) -> bytes:
    """The data set as a Part 10 file."""
    content = BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()


def of_pydicom(name: str, **attributes: object) -> bytes:
    """One of pydicom's own test files, byte for byte unless attributes are to be changed."""
    path = Path(get_testdata_file(name, download=False))
    if not attributes:
        return path.read_bytes()
    dataset = dcmread(path, force=True)
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return part10_bytes(dataset)


def ct_with(**attributes: object) -> list[Dataset]:
    """A small CT series for a result: large enough for the lesions of `lesion_case`."""
    return ct_series(slices=9, rows=32, columns=28, **attributes)
