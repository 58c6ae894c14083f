"""The tables that are printed, and the page of the documentation."""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from load.growth import ALLOWED_MB_PER_H, Growth, growth
from load.limits import QUEUED_WITHIN_S, bottleneck, broken, limits
from load.phase import Phase
from load.times import percentiles
from load.watching import OURSELVES, PACS
from services.sizing.mix import MIX, gb_an_hour


def mix_table() -> str:
    """What comes."""
    rows = [
        f"| {kind.modality} | {kind.an_hour} | {_range(kind.instances)} | {_pixels(kind)} | {kind.study_mb:.0f} |"
        for kind in MIX
    ]
    return "\n".join(
        ["| modality | studies/h | instances | pixels of each | MB a study |", "|---|---:|---:|---|---:|", *rows]
    )


def _range(numbers: tuple[int, int]) -> str:
    return str(numbers[0]) if numbers[0] == numbers[1] else f"{numbers[0]} to {numbers[1]}"


def _pixels(kind: object) -> str:
    parts = [getattr(kind, name) for name in ("frames", "rows", "columns", "samples")]
    return " x ".join(str(part) for index, part in enumerate(parts) if part != 1 or index in (1, 2))


def times_table(phase: Phase) -> str:
    """How long each step took."""
    rows = (
        ("C-STORE of an instance, until it is answered", [took for one in phase.times for took in one.c_store]),
        ("a study, from association to last answer", [one.sending for one in phase.times]),
        ("last answer to queued, beyond the quiet period", [one.queued for one in phase.times]),
        ("queued to frozen", [one.analysing for one in phase.times]),
        ("frozen to delivered", [one.delivered for one in phase.times]),
        ("last answer to delivered, with the quiet period", [one.result for one in phase.times]),
        ("the work list's first page", [one.list_s for one in phase.samples if one.list_s is not None]),
    )
    lines = ["| s | p50 | p95 | p99 |", "|---|---:|---:|---:|"]
    return "\n".join(
        [
            *lines,
            *(f"| {what} | {' | '.join(f'{each:.3f}' for each in percentiles(values))} |" for what, values in rows),
        ]
    )


def growths(phase: Phase) -> dict[str, Growth]:
    """Of each process that was there from beginning to end."""
    names = [name for name in phase.samples[-1].memory_mb if name != OURSELVES and name in phase.samples[0].memory_mb]
    return {
        name: growth([(one.time, one.memory_mb[name]) for one in phase.samples if name in one.memory_mb])
        for name in names
    }


def memory_table(phase: Phase, found: Mapping[str, Growth]) -> str:
    """Memory and cores of each process."""
    cores = phase.cores_of()
    lines = [
        "| process | MB, settled | MB at the end | slope, MB/h (95 % interval) | cores |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, one in sorted(found.items()):
        told = f"{one.slope[0]:+.1f} ({one.slope[1]:+.1f} to {one.slope[2]:+.1f})" if one.slope else "too short a run"
        grows = " grows" if one.grows else ""
        lines.append(f"| {name} | {one.first_mb:.0f} | {one.last_mb:.0f} | {told}{grows} | {cores.get(name, 0):.3f} |")
    return "\n".join(lines)


def steps_table(phases: Sequence[Phase]) -> str:
    """How it goes as the rate rises."""
    lines = [
        "| studies/h | sent | MB/s | C-STORE p95 | sender waits p95 | queued p95 | analysing p95 | delivered p95 "
        "| most jobs waiting | list p95 | cores busy | disk busy |",
        f"|{'---:|' * 12}",
    ]
    for phase in phases:
        p95 = {name: percentiles([getattr(one, name) for one in phase.times])[1] for name in _STEP_COLUMNS}
        c_store = percentiles([took for one in phase.times for took in one.c_store])[1]
        cells = (
            f"{phase.an_hour:.0f}",
            f"{len(phase.sent)}",
            f"{phase.sent_mb / max(1.0, phase.end - phase.begin):.1f}",
            f"{c_store:.3f}",
            *(f"{p95[name]:.2f}" for name in _STEP_COLUMNS),
            f"{phase.most_waiting}",
            f"{phase.list_s[1]:.3f}",
            f"{phase.cores_busy:.2f}",
            f"{100 * phase.disk_busy:.0f} %",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


_STEP_COLUMNS = ("late", "queued", "analysing", "delivered")


def verdicts(first: Phase, lost: Sequence[str], found: Mapping[str, Growth]) -> list[str]:
    """The targets, and whether this run met them."""
    queued = percentiles([one.queued for one in first.times])[1]
    growing = [name for name, one in found.items() if one.grows and name != PACS]
    told = all(one.slope for one in found.values())
    return [
        f"- {_met(not lost)}: {len(lost)} lost of {sum(len(one.digests) for one in first.sent)} instances and "
        f"{len(first.sent)} studies (none)",
        f"- {_met(queued < QUEUED_WITHIN_S)}: p95 from the last image to queued is {queued:.2f} s beyond the quiet "
        f"period (below {QUEUED_WITHIN_S:.0f} s)",
        f"- {_met(told and not growing)}: memory of {', '.join(growing) or 'no process'} grows by more than "
        f"{ALLOWED_MB_PER_H:.0f} MB/h" + ("" if told else "; the run was too short to tell"),
    ]


def breaking(phases: Sequence[Phase]) -> list[str]:
    """What broke first as the rate rose, and where."""
    for phase in phases:
        if found := broken(phase):
            told = "; ".join(
                f"{one.what}: {one.value:.2f} {one.unit}".rstrip() + f" (at most {one.most:g})" for one in found
            )
            return [
                f"- breaks at {phase.an_hour:.0f} studies an hour: {told}.",
                f"- used up there: {bottleneck(phase)}.",
            ]
    last = phases[-1]
    return [f"- nothing broke up to {last.an_hour:.0f} studies an hour; then: {bottleneck(last)}."]


def _met(met: bool) -> str:
    return "met" if met else "NOT met"


def report(phases: Sequence[Phase], lost: Sequence[str], stored: tuple[int, int]) -> str:
    """All of it. stored: bytes by which the database grew, and the instances that it knows."""
    first = phases[0]
    found = growths(first)
    instances = sum(one.instances for one in first.sent)
    cores = first.cores_of()
    parts = [
        f"## {first.an_hour:.0f} studies an hour for {first.minutes:g} minutes",
        f"{len(first.sent)} studies, {instances} instances, {first.sent_mb / 1000:.1f} GB. In all, the database grew "
        f"by {stored[0] / 1e6:.0f} MB with {stored[1]} instances: {stored[0] / max(1, stored[1]) / 1000:.1f} KB each.",
        "\n".join(verdicts(first, lost, found)),
        times_table(first),
        memory_table(first, found),
        f"Of {os.cpu_count()} cores {first.cores_busy:.2f} were busy, {sum(cores.values()):.2f} of them with this run "
        f"(senders and campaign {cores.get(OURSELVES, 0):.2f}, which no hospital has here); the disk was busy "
        f"{100 * first.disk_busy:.0f} % of the time, with {first.disk_mb_s:.1f} MB/s.",
    ]
    parts += [
        "## The rate is raised until something breaks",
        "\n".join(breaking(phases)),
        "The limits, in the order of a study's way: "
        + "; ".join(f"{one.what} {one.most:g} {one.unit}".rstrip() for one in limits(first))
        + ".",
        steps_table(phases),
    ]
    return "\n\n".join(parts)


def page(command: str, text: str, *, load: float, senders: int, quiet_s: float, step_minutes: float) -> str:
    """The page of the documentation."""
    return PAGE.format(
        command=command,
        date=datetime.now(UTC).date(),
        cores=os.cpu_count(),
        load=load,
        gb=gb_an_hour(),
        mix=mix_table(),
        senders=senders,
        quiet=quiet_s,
        step=step_minutes,
        text=text,
    )


PAGE = """\
# Load: a large hospital's busiest hour

Made by `{command}`
on {date}, on one machine of {cores} cores (load average {load:.1f} at the start), which the senders, RabbitMQ,
PostgreSQL and the PACS (Orthanc) share with Vigie: in a hospital they have their own.

The production set (door, desk, two workers, deliver) with a segmenter that finds nothing at once. Studies come at
random moments (a Poisson process) from {senders} senders, each with one association at a time, and are complete
{quiet:g} s after their last image. A rule claims every study: of CT, MR and PT the whole volume is loaded and looked
at, of the others it is said that they are not analysed; each has a report, which goes to the PACS. In the end every
acknowledged instance is read again from the data folder and compared by its digest, every study is asked for its
outcome, and every object of a result is looked for in the PACS.

The mix is that of MONAI Deploy's workload paper (`guidelines/MONAI-Workloads.md`): 300 studies an hour, of them 120
radiographs, 50 US, 30 CT, 25 MR. So are the sizes, which that paper has from 2009; CT and MR have more slices here, as
today's have, and ultrasound has colours. {gb:.1f} GB an hour.

{mix}

Before that come some 150 small studies, so that the work list's first page is full from the beginning, and some 16 of
the largest kind, for who looks at a study whole is as large as the largest yet made it; and the desk is asked for the
list and for its metrics some thousand times.

*Last answer to queued*: from the moment at which the sender was told that the last image is safe until the dispatcher
has committed the job, less the quiet period. *Memory*: anonymous memory of the process, of each minute the lowest
value, after the first third of the run; the slope is Theil and Sen's. *Disk busy*: the share of the time in which it
had something to do. Each step of the raised rate takes {step:g} minutes and is left to settle before the next.

{text}
"""
