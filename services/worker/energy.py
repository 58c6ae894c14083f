"""The energy of an analysis: by the machine's counters where they can be read, else by CPU time and a power per core.

CPU: RAPL's counters of all packages and their memory (Linux powercap), of which the analysis has the share that it has
of the machine's busy time. GPU: Triton's nv_energy_consumption (NVML's), all of it: what runs on the GPU meanwhile
counts too. Which of these it was, the worker's metrics tell.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from services.backends.inference.wire import SERVED_CPU, SERVED_GPU
from services.settings import WATTS_PER_CORE
from services.triage.result import Energy, EnergySource, Result
from services.worker import metrics

POWERCAP = Path("/sys/class/powercap")
PROC_STAT = Path("/proc/stat")
_METRICS_TIMEOUT_S = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Counters:
    """At one moment: microjoules by RAPL zone, seconds of all cores, our own CPU seconds, joules of Triton's GPUs."""

    rapl_uj: dict[Path, int]
    busy_s: float
    cpu_s: float
    gpu_j: float | None


@dataclass(frozen=True, kw_only=True)
class EnergyMeter:
    """Meters analyses. watts_per_core: of a busy core. triton: HOST:PORT of Triton's gRPC, None: models run in here.

    triton_metrics: HOST:PORT of its metrics; None: the energy of its GPU is not told.
    """

    watts_per_core: float = WATTS_PER_CORE
    triton: str | None = None
    triton_metrics: str | None = None
    powercap: Path = POWERCAP
    proc_stat: Path = PROC_STAT

    def begin(self) -> Callable[[Result], Energy | None]:
        """Begin; what comes back ends it, and answers with the energy since. None: it cannot be told."""
        before = self._read()

        def end(result: Result) -> Energy | None:
            served_s = result.timings_s.get(f"segment.{SERVED_CPU}", 0.0)
            on_gpu = f"segment.{SERVED_GPU}" in result.timings_s
            if self.triton is not None and result.finding.outcome.analysed and not served_s:
                return None  # a server that does not tell its CPU time: the rest would pass for all
            energy, read_from = self._between(before, self._read(), served_s, on_gpu=on_gpu)
            if result.finding.outcome.analysed:
                metrics.energy_read_from(read_from)
            return energy

        return end

    def _read(self) -> _Counters:
        return _Counters(
            rapl_uj=_rapl_uj(self.powercap),
            busy_s=_busy_s(self.proc_stat),
            cpu_s=time.process_time(),
            gpu_j=None if self.triton_metrics is None else _gpu_j(self.triton_metrics),
        )

    def _between(
        self, before: _Counters, after: _Counters, served_s: float, *, on_gpu: bool
    ) -> tuple[Energy, dict[str, str]]:
        """The energy, and what that of `cpu` and `gpu` was read from."""
        own_s = after.cpu_s - before.cpu_s
        is_here = self.triton is None or self.triton.rpartition(":")[0] in ("localhost", "127.0.0.1", "[::1]")
        here_s, elsewhere_s = (own_s + served_s, 0.0) if is_here else (own_s, served_s)
        metered_j = _spent_j(before.rapl_uj, after.rapl_uj)
        busy_s = after.busy_s - before.busy_s
        if metered_j is None or busy_s <= 0:
            here_j, metered = here_s * self.watts_per_core, False
        else:
            here_j, metered = metered_j * min(1.0, here_s / busy_s), True
        gpu_j = None if before.gpu_j is None or after.gpu_j is None else max(0.0, after.gpu_j - before.gpu_j)
        read_from = {"cpu": "rapl" if metered and not elsewhere_s else "estimated"}
        gpu_is_told = self.triton is None or gpu_j is not None
        if on_gpu:
            gpu_is_told = gpu_j is not None and bool(after.gpu_j)  # no GPU that runs has used nothing
            unread = "not_asked" if self.triton_metrics is None else "unreadable"
            read_from["gpu"] = "nvml" if gpu_is_told else unread
        is_measured = read_from["cpu"] == "rapl" and gpu_is_told
        joules = round(here_j + elsewhere_s * self.watts_per_core + (gpu_j or 0.0), 3)
        source = EnergySource.MEASURED if is_measured else EnergySource.ESTIMATED
        return Energy(joules=joules, source=source), read_from


def _rapl_uj(powercap: Path) -> dict[Path, int]:
    """By zone; packages and their memory, for the other zones are parts of these. Empty where they cannot be read."""
    found = {}
    for zone in sorted(powercap.glob("intel-rapl:*")):
        try:
            name = (zone / "name").read_text().strip()
            if name.startswith("package") or name == "dram":
                found[zone] = int((zone / "energy_uj").read_text())
        except (OSError, ValueError):
            return {}  # part of them would pass for all
    return found


def _spent_j(before: dict[Path, int], after: dict[Path, int]) -> float | None:
    if not before or before.keys() != after.keys():
        return None
    total = 0
    for zone, began in before.items():
        spent = after[zone] - began
        if spent < 0:  # the counter has gone round
            try:
                spent += int((zone / "max_energy_range_uj").read_text())
            except (OSError, ValueError):
                return None
        total += spent
    return total / 1e6


def _busy_s(proc_stat: Path) -> float:
    """Seconds that all cores together were busy since the machine started; 0 where it does not tell (proc(5))."""
    try:
        user, nice, system, _idle, _wait, irq, softirq = map(int, proc_stat.read_text().split(maxsplit=8)[1:8])
    except (OSError, ValueError):
        return 0.0
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _gpu_j(address: str) -> float | None:
    """Joules of all GPUs since Triton started; 0: it has none or cannot read them. None: it does not answer."""
    try:
        text = httpx.get(f"http://{address}/metrics", timeout=_METRICS_TIMEOUT_S).raise_for_status().text
        families = list(text_string_to_metric_families(text))
    except (httpx.HTTPError, ValueError):
        return None
    return sum(one.value for each in families for one in each.samples if one.name.startswith("nv_energy_consumption"))
