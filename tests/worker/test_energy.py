"""The energy of an analysis: from counters where there are any, else estimated, and always said which."""

from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from services.exposition import REGISTRY
from services.triage.finding import Finding, Flag, Outcome
from services.triage.model import ModelIdentity
from services.triage.result import EnergySource, Result
from services.worker import energy
from services.worker.energy import EnergyMeter
from tests.support.http_server import Server, serving

MODEL = ModelIdentity(name="lung", version="1", weights_sha256="")


def result(**timings_s: float) -> Result:
    finding = Finding(outcome=Outcome.NOTHING_FOUND, score=0.1, flag=Flag.ROUTINE, calibrated=False)
    return Result(model=MODEL, series_instance_uid="1.2", finding=finding, objects=(), timings_s=timings_s)


def refused() -> Result:
    finding = Finding(outcome=Outcome.NOT_ANALYSED, score=None, flag=Flag.ROUTINE, calibrated=False)
    return replace(result(), finding=finding)


@dataclass
class Machine:
    """Its counters as files, and its process's CPU time."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def zone(self, number: str, name: str, microjoules: int) -> None:
        zone = self.folder / "powercap" / f"intel-rapl:{number}"
        zone.mkdir(parents=True, exist_ok=True)
        (zone / "name").write_text(f"{name}\n")
        (zone / "energy_uj").write_text(f"{microjoules}\n")
        (zone / "max_energy_range_uj").write_text("1000000000\n")

    def busy(self, seconds: float) -> None:
        (self.folder / "stat").write_text(f"cpu  {int(seconds * 100)} 0 0 999 0 0 0 0 0 0\n")

    def used(self, seconds: float) -> None:
        self.monkeypatch.setattr(energy.time, "process_time", lambda: seconds)

    def meter(self, **told: object) -> EnergyMeter:
        folders = {"powercap": self.folder / "powercap", "proc_stat": self.folder / "stat"}
        return EnergyMeter(**{"watts_per_core": 10.0, **folders, **told})  # type: ignore[arg-type]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path, monkeypatch)
    made.busy(100)
    made.used(5)
    return made


def test_without_counters_it_is_estimated_from_cpu_time(machine: Machine) -> None:
    spent = machine.meter().begin()
    machine.used(35)
    told = spent(result())
    assert told is not None
    assert (told.joules, told.source) == (300.0, EnergySource.ESTIMATED)


def test_with_counters_it_has_its_share_of_packages_and_memory(machine: Machine) -> None:
    for number, name in (("0", "package-0"), ("0:0", "core"), ("0:1", "dram"), ("1", "psys")):
        machine.zone(number, name, 1_000_000)
    spent = machine.meter().begin()
    machine.zone("0", "package-0", 401_000_000)
    machine.zone("0:0", "core", 301_000_000)
    machine.zone("0:1", "dram", 101_000_000)
    machine.busy(150)
    machine.used(30)
    told = spent(result())
    assert told is not None
    assert (told.joules, told.source) == (500.0 * 25 / 50, EnergySource.MEASURED)


def test_a_counter_that_goes_round_counts_on(machine: Machine) -> None:
    machine.zone("0", "package-0", 900_000_000)
    spent = machine.meter().begin()
    machine.zone("0", "package-0", 100_000_000)
    machine.busy(110)
    machine.used(15)
    told = spent(result())
    assert told is not None
    assert told.joules == 200.0


def test_of_triton_its_cpu_time_and_its_gpu_count(machine: Machine) -> None:
    server = Server()

    def gpus_have_used(joules: float) -> None:
        server.body = "".join(f'nv_energy_consumption{{gpu_uuid="{gpu}"}} {joules}\n' for gpu in "ab").encode()

    with serving(server) as url:
        address = urlsplit(url).netloc
        gpus_have_used(1000)
        meter = machine.meter(triton="triton.example:8001", triton_metrics=address)
        spent = meter.begin()
        gpus_have_used(1050)
        machine.used(6)
        told = spent(result(**{"segment.cpu": 4.0}))
        assert told is not None
        assert (told.joules, told.source) == (1 * 10.0 + 4 * 10.0 + 100.0, EnergySource.ESTIMATED)
        machine.zone("0", "package-0", 0)
        spent = machine.meter(triton="127.0.0.1:8001", triton_metrics=address).begin()
        machine.zone("0", "package-0", 80_000_000)
        machine.busy(110)
        machine.used(7)
        told = spent(result(**{"segment.cpu": 4.0}))
        assert told is not None
        assert (told.joules, told.source) == (80.0 * 5 / 10, EnergySource.MEASURED)


def test_a_server_that_does_not_tell_leaves_it_untold(machine: Machine) -> None:
    spent = machine.meter(triton="triton.example:8001").begin()
    machine.used(6)
    assert spent(result()) is None


def sources() -> dict[str, str]:
    """Of the last analysis, as the worker's metrics tell it."""
    (family,) = (one for one in REGISTRY.collect() if one.name == "vigie_worker_energy_source")
    return {sample.labels["of"]: sample.labels["source"] for sample in family.samples}


@pytest.mark.parametrize(
    ("body", "gpu", "of_result"),
    [
        ('nv_energy_consumption{gpu_uuid="a"} 1000\n', "nvml", EnergySource.MEASURED),
        # of a slice of a GPU, or where the pod may not ask the driver
        ('nv_energy_consumption{gpu_uuid="a"} 0\n', "unreadable", EnergySource.ESTIMATED),
        ("nv_inference_count 1\n", "unreadable", EnergySource.ESTIMATED),
    ],
)
def test_a_gpu_whose_energy_is_not_told_is_no_measured_analysis_and_the_metrics_say_so(
    machine: Machine, body: str, gpu: str, of_result: EnergySource
) -> None:
    server = Server()
    server.body = body.encode()
    on_gpu = result(**{"segment.cpu": 4.0, "segment.gpu": 9.0})
    machine.zone("0", "package-0", 0)
    with serving(server) as url:
        spent = machine.meter(triton="127.0.0.1:8001", triton_metrics=urlsplit(url).netloc).begin()
        machine.busy(110)
        told = spent(on_gpu)
        assert told is not None
        assert told.source is of_result
        assert sources() == {"cpu": "rapl", "gpu": gpu}


def test_the_metrics_say_where_energy_is_estimated_and_where_nobody_asks_the_gpu(machine: Machine) -> None:
    machine.meter().begin()(result())
    assert sources() == {"cpu": "estimated"}
    meter = machine.meter(triton="triton.example:8001")
    meter.begin()(result(**{"segment.cpu": 4.0, "segment.gpu": 9.0}))
    assert sources() == {"cpu": "estimated", "gpu": "not_asked"}
    meter.begin()(refused())  # no model has run: it tells nothing
    assert sources() == {"cpu": "estimated", "gpu": "not_asked"}


def test_the_cpu_of_a_triton_elsewhere_is_estimated_whatever_counters_we_have(machine: Machine) -> None:
    machine.zone("0", "package-0", 0)
    spent = machine.meter(triton="triton.example:8001").begin()
    machine.busy(110)
    spent(result(**{"segment.cpu": 4.0}))
    assert sources() == {"cpu": "estimated"}
