"""When a rate is too high, and where it is felt first."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from load.phase import Phase
from load.times import percentiles


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A figure of a phase that may not be above `most`. what: in words, with its unit in `unit`."""

    what: str
    value: float
    most: float
    unit: str = "s"

    @property
    def holds(self) -> bool:
        """Whether it is kept; a figure that there is none of is not."""
        return self.value <= self.most


QUEUED_WITHIN_S = 2.0


def limits(phase: Phase) -> Iterator[Limit]:
    """All of a phase, in the order of a study's way: the first that is broken is where it broke."""
    times = phase.times
    yield Limit(
        what="C-STOREs and associations that failed",
        value=float(sum(len(one.errors) for one in phase.sent)),
        most=0,
        unit="",
    )
    yield Limit(
        what="a study waits for a free sender, p95", value=percentiles([one.late for one in times])[1], most=5.0
    )
    yield Limit(
        what="C-STORE of an instance, p95",
        value=percentiles([took for one in times for took in one.c_store])[1],
        most=1.0,
    )
    yield Limit(
        what="last image to queued beyond the quiet period, p95",
        value=percentiles([one.queued for one in times])[1],
        most=QUEUED_WITHIN_S,
    )
    yield Limit(
        what="queued to frozen, p95",
        value=percentiles([one.analysing for one in times])[1],
        most=60.0,
    )
    yield Limit(what="frozen to delivered, p95", value=percentiles([one.delivered for one in times])[1], most=60.0)
    yield Limit(what="the work list's first page, p95", value=phase.list_s[1], most=2.0)
    yield Limit(
        what="studies without an end",
        value=float(phase.ordered - len(times)),
        most=0,
        unit="",
    )


def broken(phase: Phase) -> list[Limit]:
    """Those that do not hold."""
    return [one for one in limits(phase) if not one.holds]


def bottleneck(phase: Phase) -> str:
    """What of the machine was used up, in a sentence."""
    cores, used = os.cpu_count() or 1, phase.cores_of()
    busiest = ", ".join(f"{name} {share:.2f}" for name, share in list(used.items())[:4])
    told = (
        f"{phase.cores_busy:.2f} of {cores} cores busy ({busiest}), the disk {100 * phase.disk_busy:.0f} % of the time"
    )
    if phase.cores_busy > 0.85 * cores:
        return f"the processor: {told}"
    if phase.disk_busy > 0.85:
        return f"the disk: {told}"
    one = next((name for name, share in used.items() if share > 0.85), None)
    if one is not None:
        return f"one core, that of {one}: {told}"
    return f"waiting, not work: {told}"
