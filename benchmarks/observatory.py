"""What the observatory promises, counted over simulated histories: false alarms, alarms that are found, coverage.

    .venv/bin/python -m benchmarks.observatory [--histories N] [--write docs/measurements/observatory.md]

Every history is 90 days of reference and a window of 30, by `tests.support.histories`; seeds are fixed.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy import stats

from services.observatory.agreement import Measure
from services.observatory.figures import ALPHA, Alarm, Figures, Scope, observe
from services.observatory.history import history_of
from tests.support.histories import DETECT, START, World, simulate

REFERENCE_DAYS, DAYS = 90, 30
BEFORE = START - timedelta(days=REFERENCE_DAYS)
SCOPE = Scope(model="m", model_version="1", since=START, until=START + timedelta(days=DAYS), reference_since=BEFORE)
PLANTED = {
    "women are served worse": (World(weak_sex="F"), Alarm.DISPARITY),
    "scores move by 0.5 logits": (World(score_shift=0.5), Alarm.DRIFT),
    "a scanner makes a fifth of studies": (World(new_device=0.2), Alarm.DRIFT),
    "the flag rate rises by a twentieth of studies": (World(flag_step=0.05), Alarm.FLAG_RATE),
}


def observed(world: World, seed: int) -> Figures:
    """One history in which this world follows the usual one."""
    reference = history_of(simulate(World(), days=REFERENCE_DAYS, start=BEFORE, seed=2 * seed))
    return observe(history_of(simulate(world, days=DAYS, seed=2 * seed + 1)), reference, SCOPE, minimum=20)


def truths(world: World) -> dict[Measure, float]:
    """What the estimates are of, by the distributions of the scores."""
    hit, false = (float(stats.beta(*one).sf(DETECT)) for one in (world.strong, world.weak))
    found = world.prevalence * hit + (1 - world.prevalence) * false
    return {
        Measure.FOUND: found,
        Measure.PPV: world.prevalence * hit / found,
        Measure.NPV: (1 - world.prevalence) * (1 - false) / (1 - found),
        Measure.SENSITIVITY_CORRECTED: hit,
        Measure.SPECIFICITY_CORRECTED: 1 - false,
        Measure.SENSITIVITY_BLIND: hit,
        Measure.SPECIFICITY_BLIND: 1 - false,
        Measure.LESION_PPV: world.prevalence * hit / found,
    }


def report(clean: list[Figures], planted: dict[str, list[bool]]) -> Iterator[str]:
    """The lines of the measurement."""
    n = len(clean)
    yield "# The observatory: false alarms, power, coverage"
    yield ""
    yield f"Made again by `python -m benchmarks.observatory --histories {n} --write docs/measurements/observatory.md`."
    yield f"Each history: {REFERENCE_DAYS} days of reference, {DAYS} of window, 40 studies a day; readers answer 80% of"
    yield "what the AI found and 30% of what it did not. Nothing depends on the machine: the seeds are fixed."
    yield ""
    yield f"| alarm, nothing changed | stated at most | sounded in {n} histories | 95% interval |"
    yield "|---|---|---|---|"
    sounded = Counter(alarm for one in clean for alarm in one.alarms)
    for alarm in Alarm:
        interval = stats.binomtest(sounded[alarm], n).proportion_ci(method="exact")
        told = f"{sounded[alarm]} ({sounded[alarm] / n:.1%}) | {interval.low:.1%} to {interval.high:.1%}"
        yield f"| {alarm} | {ALPHA:.1%} | {told} |"
    yield ""
    yield "| planted | alarm | found |"
    yield "|---|---|---|"
    for name, found in planted.items():
        yield f"| {name} | {PLANTED[name][1]} | {sum(found)} of {len(found)} |"
    yield ""
    yield "| figure | truth | mean estimate | 95% intervals that hold the truth |"
    yield "|---|---|---|---|"
    for measure, truth in truths(World()).items():
        told = [one.measures[measure] for one in clean if one.measures[measure].value is not None]
        holds = sum((one.lower or 0) <= truth <= (one.upper or 0) for one in told)
        mean = float(np.mean([one.value for one in told]))
        yield f"| {measure} | {truth:.3f} | {mean:.3f} | {holds} of {len(told)} ({holds / len(told):.1%}) |"
    naive = float(np.mean([one.measures[Measure.SENSITIVITY].value for one in clean]))
    hit = truths(World())[Measure.SENSITIVITY_CORRECTED]
    yield ""
    yield f"The sensitivity of answered studies alone is {naive:.3f} on average where the truth is {hit:.3f}: the"
    yield "verification bias that the corrected figure and the blind reads are free of."


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=200)
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    console = Console(stderr=True)
    clean = [observed(World(), seed) for seed in track(range(asked.histories), "clean", console=console)]
    planted = {
        name: [
            alarm in observed(world, 10_000 + seed).alarms
            for seed in track(range(asked.histories // 10), name, console=console)
        ]
        for name, (world, alarm) in PLANTED.items()
    }
    text = "\n".join(report(clean, planted)) + "\n"
    Console().print(text, markup=False)
    if asked.write:
        asked.write.write_text(text)


if __name__ == "__main__":
    main()
