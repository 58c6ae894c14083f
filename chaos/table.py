"""What a campaign has done and found, as the table that is printed and committed."""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import get_args

from chaos.faults import Fault, Kind
from chaos.invariants import Breach, Sin


@dataclass
class Tally:
    """Adds up round after round.

    recovery_s: from the last fault's end until everything was settled. crashes: servers that ended by themselves.
    """

    rounds: int = 0
    faults: Counter[tuple[Kind, str]] = field(default_factory=Counter)
    instances: int = 0
    studies: int = 0
    results: int = 0
    recovery_s: list[float] = field(default_factory=list)
    crashes: dict[str, int] = field(default_factory=dict)
    breaches: list[Breach] = field(default_factory=list)

    def begin(self, faults: Sequence[Fault]) -> None:
        """A round begins."""
        self.rounds += 1
        self.faults.update((fault.kind, fault.target) for fault in faults)

    def end(self, *, studies: int, instances: int, results: int, recovery_s: float) -> None:
        """The round has settled."""
        self.studies += studies
        self.instances += instances
        self.results += results
        self.recovery_s.append(recovery_s)


def markdown(tally: Tally) -> str:
    """The table."""
    sins = Counter(breach.sin for breach in tally.breaches)
    rows = [
        ("rounds", str(tally.rounds)),
        *((kind.value, _by_target(tally, kind)) for kind in Kind),
        ("ended by itself", ", ".join(f"{name} {count}" for name, count in tally.crashes.items())),
        ("instances acknowledged", str(tally.instances)),
        ("studies", str(tally.studies)),
        ("results frozen", str(tally.results)),
        *((sin, str(sins[sin])) for sin in get_args(Sin)),
        ("recovery, median", _seconds(statistics.median(tally.recovery_s)) if tally.recovery_s else "-"),
        ("recovery, longest", _seconds(max(tally.recovery_s)) if tally.recovery_s else "-"),
    ]
    return "\n".join(["| what | how many |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _by_target(tally: Tally, kind: Kind) -> str:
    counts = {target: count for (done, target), count in sorted(tally.faults.items()) if done is kind}
    return ": ".join([str(sum(counts.values())), *filter(None, [", ".join(f"{t} {n}" for t, n in counts.items())])])


def _seconds(value: float) -> str:
    return f"{value:.1f} s"


PAGE = """\
# Chaos: what is killed, cut, paused and filled, and what is lost

Made by `{command}`
on {date}, on one machine of {cores} cores shared with other work (load average {load:.0f} at the end): trust the
counts, not the seconds. In each round four modalities (two by C-STORE, two by STOW-RS) send small CT studies, some with
a lesion, some without, some that no rule claims, some that cannot be analysed; meanwhile the faults below are done to
the real set. Then all is started again and left to settle, and everything is judged from outside. (*wipe*: the broker
is killed, and all that it has kept is removed.)

{table}

- *lost*: an acknowledged instance that is not kept byte for byte, a frozen object that cannot be had again or is not at
  the PACS though its delivery no longer waits, a dead letter that no state explains.
- *doubled*: two jobs of one version and model, an object at the PACS of no frozen result or with a second content, a
  report that speaks of another computation's segmentation.
- *stuck*: a study, job, delivery or message that has not come to its end {bound:.0f} s after everything was up again.
- *wrong*: another outcome than the images call for, or a refusal without a reason.
- *ended by itself*: not killed by us, and started again as a supervisor does. Triton 2.51 ends with a segmentation
  fault (TRITONBACKEND_ResponseFactoryIsCancelled) when the process of a model that it has given up goes on again.
- *recovery*: from the end of the last fault until nothing is left to do (a study's quiet period of {quiet:.1f} s and
  a lease of {lease:.0f} s included).
{notes}"""
