"""The parts of `make load`: what is sent, what is measured of it, and when something grows or breaks."""

import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from load.growth import growth
from load.limits import bottleneck, broken
from load.page import breaking, report
from load.phase import Phase
from load.senders import Order, Sent
from load.studies import PATIENT_ID, arrivals_s, draw, write_study
from load.times import StudyTimes
from load.watching import OURSELVES, Sample, other
from services.backends import part10
from services.backends.headers import read_instance
from services.sizing.mix import MIX, Kind

SMALL = [kind for kind in MIX if kind.instances[0] * kind.instance_bytes < 30e6]


@pytest.mark.parametrize("kind", SMALL, ids=lambda kind: kind.modality)
def test_a_study_is_what_the_door_takes_and_its_digests_are_those_of_its_files(kind: Kind, tmp_path: Path) -> None:
    few = replace(kind, instances=(3, 3))
    study = write_study(few, tmp_path / "study", seed=7)
    read = [read_instance(path) for path in study.paths]
    assert [one.digest for one in read] == list(study.digests) == [part10.digest(p.read_bytes()) for p in study.paths]
    assert {one.study.study_instance_uid for one in read} == {study.uid}
    assert len({one.header.sop_instance_uid for one in read}) == 3
    assert len(dcmread(study.paths[0]).PixelData) == kind.instance_bytes + kind.instance_bytes % 2


def test_slices_of_a_volume_lie_one_millimetre_apart(tmp_path: Path) -> None:
    kind = replace(next(one for one in MIX if one.modality == "PT"), instances=(4, 4))
    study = write_study(kind, tmp_path / "study", seed=1)
    heights = [float(dcmread(path, stop_before_pixels=True).ImagePositionPatient[2]) for path in study.paths]
    assert [after - before for before, after in pairwise(heights)] == pytest.approx([1.0] * 3)
    assert dcmread(study.paths[0]).PatientID == PATIENT_ID


def test_the_same_seed_is_the_same_study_and_another_is_another(tmp_path: Path) -> None:
    kind = replace(MIX[-3], instances=(2, 2))
    first, same, other = (write_study(kind, tmp_path / str(n), seed=seed) for n, seed in enumerate((1, 1, 2)))
    assert first.digests == same.digests
    assert not set(first.digests) & set(other.digests)


def test_studies_come_at_random_moments_as_many_as_were_asked_for() -> None:
    moments = list(arrivals_s(random.Random(1), an_hour=3600, minutes=30))
    gaps = np.diff(moments)
    assert 1700 < len(moments) < 1900
    assert 0.85 < float(np.std(gaps) / np.mean(gaps)) < 1.15  # of an exponential distribution it is 1


def test_kinds_are_drawn_as_often_as_they_are_in_the_mix() -> None:
    dice = random.Random(2)
    drawn = [draw(dice).modality for _ in range(3000)]
    assert 270 < drawn.count("CT") < 330


def memory(*, leak_mb_per_h: float, minutes: int = 30, seed: int = 0) -> list[tuple[float, float]]:
    """Every two seconds: a base that leaks, noise, and the peaks of analyses."""
    noise = np.random.default_rng(seed)
    return [
        (t, 200 + leak_mb_per_h * t / 3600 + float(noise.normal(0, 0.3)) + float(noise.random() < 0.2) * 300)
        for t in np.arange(0, minutes * 60, 2.0)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_memory_that_goes_up_and_down_again_is_flat_and_a_leak_is_found(seed: int) -> None:
    assert not growth(memory(leak_mb_per_h=0, seed=seed)).grows
    assert growth(memory(leak_mb_per_h=12, seed=seed)).grows


def test_of_a_short_run_no_slope_is_told() -> None:
    found = growth(memory(leak_mb_per_h=500, minutes=2))
    assert (found.slope, found.grows) == (None, False)


def phase(*, queued_s: float = 0.4, door: float = 0.3, errors: tuple[str, ...] = (), an_hour: float = 300) -> Phase:
    order = Order(phase="x", due=0.0, modality="CT", seed=1)
    sent = Sent(
        order=order,
        uid="2.25.1",
        instances=2,
        ready=0,
        began=0.1,
        acknowledged=1.0,
        c_store_s=(0.01, 0.02),
        digests=("a", "b"),
        errors=errors,
    )
    times = StudyTimes(
        late=0.1, sending=0.9, c_store=(0.01, 0.02), queued=queued_s, analysing=1, delivered=1, result=20
    )
    samples = tuple(
        Sample(
            time=float(t),
            memory_mb={"door": 100.0},
            cpu_s={"door": door * t},
            jobs={"queued": float(t == 1)},
            deliveries={},
            list_s=0.05,
            disk_busy_s=0.1 * t,
            disk_mb=10.0 * t,
            cores_busy_s=door * t,
        )
        for t in range(3)
    )
    return Phase(
        name="x", an_hour=an_hour, minutes=1, begin=0, end=60, ordered=1, sent=(sent,), times=(times,), samples=samples
    )


def test_a_phase_within_the_limits_is_not_broken_and_tells_what_it_used() -> None:
    quiet = phase()
    assert broken(quiet) == []
    assert quiet.cores_of() == pytest.approx({"door": 0.3})
    assert (quiet.cores_busy, quiet.disk_busy, quiet.disk_mb_s, quiet.most_waiting) == pytest.approx((0.3, 0.1, 10, 1))


def test_what_breaks_first_is_told_with_what_was_used_up() -> None:
    steps = [phase(), phase(queued_s=7.0, door=1.0, an_hour=600)]
    (limit,) = broken(steps[1])
    assert "beyond the quiet period" in limit.what
    assert "one core, that of door" in bottleneck(steps[1]) or "the processor" in bottleneck(steps[1])
    assert "breaks at 600 studies an hour" in breaking(steps)[0]


@pytest.mark.parametrize(
    ("command_line", "name"),
    [
        ("/usr/lib/postgresql/15/bin/postgres -D /tmp/x/data -c port=1 ", "PostgreSQL"),
        ("postgres: vigie vigie 127.0.0.1(39232) idle ", "PostgreSQL"),
        ("/usr/lib/erlang/erts-13.1.5/bin/beam.smp -W w ", "RabbitMQ"),
        ("/usr/sbin/Orthanc /tmp/x/orthanc.json ", "Orthanc (the PACS)"),
        ("python -c from multiprocessing.spawn import spawn_main ", OURSELVES),
    ],
)
def test_a_server_is_called_by_its_name_whatever_its_processes_call_themselves(command_line: str, name: str) -> None:
    assert other(command_line) == name


def test_a_failed_c_store_breaks_a_phase() -> None:
    assert [one.what for one in broken(phase(errors=("DestinationUnavailable",)))] == [
        "C-STOREs and associations that failed"
    ]


def test_each_step_is_a_line_of_the_report_and_the_limits_are_told_with_it() -> None:
    text = report([phase(), phase(an_hour=600), phase(an_hour=1200, queued_s=3.0)], [], (1, 1))
    assert [line.split()[1] for line in text.splitlines() if line.startswith(("| 300 ", "| 600 ", "| 1200 "))] == [
        "300",
        "600",
        "1200",
    ]
    assert "breaks at 1200 studies an hour" in text
    assert "C-STORE of an instance, p95 1 s" in text


def test_where_nothing_broke_that_is_said() -> None:
    assert "nothing broke up to 300 studies an hour" in report([phase()], [], (1, 1))


def test_the_report_tells_what_was_lost() -> None:
    text = report([phase()], ["instance a is not kept"], (8_000_000, 2000))
    assert "NOT met: 1 lost of 2 instances" in text
    assert "4.0 KB each" in text
