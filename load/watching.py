"""What is looked at while the load is on: memory and CPU of each process, the queue, the disk, the work list."""

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from load.the_set import TheSet

EVERY_S = 2.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")

OURSELVES = "senders and this campaign"
PACS = "Orthanc (the PACS)"

# The command line of who is not ours.
_OTHERS = {
    "beam.smp": "RabbitMQ",
    "/postgres": "PostgreSQL",
    "postgres:": "PostgreSQL",
    "Orthanc": PACS,
}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One look. time: seconds since the epoch.

    memory_mb: anonymous memory by process (what PostgreSQL shares is none), of several of one name the sum.
    cpu_s: used by each since it began. jobs, deliveries: by state. list_s: to answer the first page of the work list.
    disk_busy_s, disk_mb: time in which the disk had something to do, and written to it, since the machine started.
    cores_busy_s: of all cores, whoever used them. None: it could not be had.
    """

    time: float
    memory_mb: Mapping[str, float]
    cpu_s: Mapping[str, float]
    jobs: Mapping[str, float]
    deliveries: Mapping[str, float]
    list_s: float | None
    disk_busy_s: float
    disk_mb: float
    cores_busy_s: float


@dataclass
class Watch:
    """Takes a sample every `EVERY_S` in a thread of its own."""

    running: TheSet
    samples: list[Sample] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def between(self, begin: float, end: float) -> list[Sample]:
        """Those of a time."""
        return [one for one in self.samples if begin <= one.time <= end]

    def run(self) -> None:
        """Look until `stop`."""
        names: dict[int, str] = {}
        with httpx.Client(base_url=self.running.api, timeout=30) as client:
            while not self._stop.is_set():
                began = time.monotonic()
                self.samples.append(self._look(client, names))
                self._stop.wait(max(0.1, EVERY_S - (time.monotonic() - began)))

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()

    def _look(self, client: httpx.Client, names: dict[int, str]) -> Sample:
        memory, cpu = _processes(names, self.running)
        counts = _metrics(client)
        busy, written = _disk(self.running.data)
        return Sample(
            time=time.time(),
            memory_mb=memory,
            cpu_s=cpu,
            jobs=counts.get("vigie_jobs", {}),
            deliveries=counts.get("vigie_deliveries", {}),
            list_s=_seconds(client),
            disk_busy_s=busy,
            disk_mb=written,
            cores_busy_s=_cores_busy_s(),
        )


@contextmanager
def watching(running: TheSet) -> Iterator[Watch]:
    """Watch until the end of the block."""
    watch = Watch(running)
    thread = threading.Thread(target=watch.run, name="watch", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        watch.stop()
        thread.join()


def _seconds(client: httpx.Client) -> float | None:
    began = time.perf_counter()
    try:
        answer = client.get("/", headers={"Accept": "text/html"})
    except httpx.TransportError:
        return None
    return time.perf_counter() - began if answer.is_success else None


def _metrics(client: httpx.Client) -> dict[str, dict[str, float]]:
    """By name and state, as Prometheus would scrape them."""
    try:
        answer = client.get("/metrics")
    except httpx.TransportError:
        return {}
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            if state := sample.labels.get("state"):
                of_family = found.setdefault(family.name, {})
                of_family[state] = of_family.get(state, 0) + sample.value
    return found


def _processes(names: dict[int, str], running: TheSet) -> tuple[dict[str, float], dict[str, float]]:
    """Anonymous memory (MB) and CPU seconds of this process's descendants, by name. names: those known so far."""
    memory: dict[str, float] = {}
    cpu: dict[str, float] = {}
    for pid in [os.getpid(), *_descendants(os.getpid())]:
        try:
            if pid not in names:
                names |= _names(running, pid)
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            resident, shared = map(int, Path(f"/proc/{pid}/statm").read_text().split()[1:3])
        except (FileNotFoundError, ProcessLookupError):
            continue
        name = names[pid]
        memory[name] = memory.get(name, 0) + (resident - shared) * _PAGE / 1e6
        # of its own, and of children that have ended: PostgreSQL has a new one for each connection
        cpu[name] = cpu.get(name, 0) + sum(map(int, fields[11:15])) / _TICKS
    return memory, cpu


def _names(running: TheSet, pid: int) -> dict[int, str]:
    """What to call a process that is new."""
    parts = running.parts()
    if pid in parts:
        return {pid: parts[pid]}
    words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    for process in running.processes:
        if pid == process.pid:
            return {pid: f"supervisor of the {process.name}" if "gateway" in words else process.name}
    return {pid: other(words)}


def other(command_line: str) -> str:
    """What to call a process that is not ours."""
    return next((name for word, name in _OTHERS.items() if word in command_line), OURSELVES)


def _descendants(root: int) -> Sequence[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, new = list[int](), [root]
    while new:
        new = [child for parent in new for child in children.get(parent, ())]
        found += new
    return found


def _disk(folder: Path) -> tuple[float, float]:
    """Seconds busy, and MB written, of the block device that the folder lies on (iostats of the kernel)."""
    device = folder.stat().st_dev
    stat = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
    if not stat.exists():
        return 0.0, 0.0
    fields = stat.read_text().split()
    return int(fields[9]) / 1000, int(fields[6]) * 512 / 1e6


def _cores_busy_s() -> float:
    user, nice, system, _idle, _wait, interrupts, soft, steal, *_ = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    )
    return (user + nice + system + interrupts + soft + steal) / _TICKS
