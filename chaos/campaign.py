"""A seeded campaign of faults against the real set; exit code 1 when an invariant breaks.

make chaos [ROUNDS=100] [SEED=1] [WRITE=docs/measurements/chaos.md]
.venv/bin/python -m chaos.campaign --rounds 5 --seed 1 --write docs/measurements/chaos.md
"""

import argparse
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from chaos.cast import EndedByItself
from chaos.disk import CAN_BE_FILLED
from chaos.faults import CAN_CUT, Fault, deal, inflict
from chaos.invariants import Breach, Evidence, breaches, not_dead, unsettled
from chaos.real_set import LEASE_S, QUIET_PERIOD_S, RealSet
from chaos.senders import Refused, Sender, Senders, by_c_store, by_stow
from chaos.studies import Study, draw_kind, make_study
from chaos.table import PAGE, Tally, markdown
from services.logs import configure_logging

SETTLED_WITHIN_S = 180.0
"""The stated bound: whatever is not at its end so long after everything was started again is stuck."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign; answers the exit code."""
    options = _parse(arguments)
    configure_logging("ERROR")
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    for able, fault in ((CAN_BE_FILLED, "fill the disk"), (CAN_CUT, "cut connections")):
        if not able:
            console.print(f"Not root: this campaign cannot {fault}.", style="yellow")
    tally = Tally()
    with (
        _folder(options.keep, tally) as folder,
        _running(folder, console) as the_set,
        closing(Campaign(the_set, folder, options.seed)) as campaign,
    ):
        for number in range(1, options.rounds + 1):
            faults = campaign.next_faults()
            with console.status(f"round {number} of {options.rounds}: {'; '.join(map(str, faults))}"):
                campaign.play(number, faults, tally)
            console.print(_line(options.rounds, faults, tally), soft_wrap=True)
            if tally.breaches:
                break
        if not tally.breaches:
            tally.breaches += campaign.judge(campaign.studies)
        tally.crashes = the_set.crashes()
    console.print(markdown(tally), markup=False)
    for breach in tally.breaches:
        console.print(str(breach), style="red", markup=False, soft_wrap=True)
    if tally.breaches:
        console.print(f"Again: --seed {options.seed} --rounds {tally.rounds}. Logs: {folder}/log", soft_wrap=True)
    elif options.write:
        options.write.write_text(_page(options, tally))
    return 1 if tally.breaches else 0


@dataclass
class Campaign:
    """One campaign: its modalities, its dice, and all it has sent so far."""

    the_set: RealSet
    folder: Path
    seed: int
    studies: list[Study] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._deal = deal(self.the_set, random.Random(f"{self.seed} faults"))
        self._api = httpx.Client(base_url=self.the_set.api, timeout=10)
        ways = [by_c_store(self.the_set.dicom, f"CT{number}") for number in (1, 2)]
        ways += [by_stow(f"{self.the_set.stow}/dicomweb/studies")] * 2
        self._senders = Senders([Sender(f"sender {number}", way) for number, way in enumerate(ways, 1)])

    def close(self) -> None:
        """Send no more."""
        self._senders.stop()
        self._api.close()

    def next_faults(self) -> list[Fault]:
        """What is done in the next round."""
        return next(self._deal)

    def play(self, number: int, faults: Sequence[Fault], tally: Tally) -> None:
        """One round: send under faults, start all again, let it settle, judge."""
        tally.begin(faults)
        batches = [self._batch(number, sender) for sender in range(len(self._senders.senders))]
        self._senders.begin(batches, random.Random(f"{self.seed} round {number}"))
        try:
            inflict(faults, self.the_set)
            began = time.monotonic()
            self.the_set.wait_ready()
            studies = self._senders.finish(SETTLED_WITHIN_S)
        except (EndedByItself, Refused, TimeoutError) as error:
            tally.breaches.append(Breach(sin="stuck", what=str(error)))
            return
        self.studies += studies
        self._settle(studies)
        recovery_s = time.monotonic() - began
        self._drain()
        tally.breaches += self.judge(studies)
        tally.end(
            studies=len(studies),
            instances=sum(len(study.files) for study in studies),
            results=sum(bool(job["result"]) for study in studies for job in _jobs(self._detail(study.uid))),
            recovery_s=recovery_s,
        )

    def judge(self, studies: Sequence[Study]) -> list[Breach]:
        """What is broken about these studies."""
        evidence = Evidence(
            studies=studies,
            acknowledged=self._senders.acknowledged(),
            details={study.uid: self._detail(study.uid) for study in studies},
            data=self.the_set.data,
            received=sorted(self.the_set.pacs.glob("*.dcm")),
            dead_letters=self.the_set.dead_letters(),
            waiting=self.the_set.waiting(),
            logs=self.the_set.logs(),
            api=self._api,
        )
        return breaches(evidence)

    def _settle(self, studies: Sequence[Study]) -> None:
        """Wait until nothing is left to do, or the bound is over."""
        deadline = time.monotonic() + SETTLED_WITHIN_S
        open_studies = list(studies)
        while open_studies and time.monotonic() < deadline:
            self.the_set.revive()
            open_studies = [study for study in open_studies if unsettled(self._detail(study.uid), study)]
            time.sleep(0.2)

    def _drain(self) -> None:
        """Wait until the workers have heard every bell, or the bound is over; a job may be done before its bell."""
        deadline = time.monotonic() + SETTLED_WITHIN_S
        while not_dead(self.the_set.waiting()) and time.monotonic() < deadline:
            time.sleep(0.5)

    def _batch(self, number: int, sender: int) -> Iterator[Study]:
        """As many studies as a sender will take in this round."""
        dice = random.Random(f"{self.seed} round {number} sender {sender}")
        for each in itertools.count():
            folder = self.folder / "sent" / str(number) / f"{sender}.{each}"
            yield make_study(draw_kind(dice), folder, seed=dice.randrange(2**32))

    def _detail(self, uid: str) -> dict[str, Any] | None:
        try:
            answer = self._api.get(f"/api/studies/{uid}")
        except httpx.TransportError:
            return None
        return dict(answer.json()) if answer.is_success else None


def _jobs(detail: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    for version in detail["versions"] if detail else ():
        yield from version["jobs"]


@contextmanager
def _folder(keep: Path | None, tally: Tally) -> Iterator[Path]:
    """A folder for everything; it stays when something broke."""
    folder = keep or Path(tempfile.mkdtemp(prefix="vigie-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    if not keep and not tally.breaches:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(folder: Path, console: Console) -> Iterator[RealSet]:
    the_set = RealSet(folder)
    try:
        with console.status("the set starts"):
            the_set.start()
        yield the_set
    finally:
        the_set.stop()


def _line(rounds: int, faults: Sequence[Fault], tally: Tally) -> str:
    done = ", ".join(f"{fault.kind} {fault.target}" for fault in faults)
    took = f"{tally.recovery_s[-1]:.1f} s" if tally.recovery_s else "-"
    return (
        f"round {tally.rounds}/{rounds}: {tally.studies} studies, {tally.instances} instances, "
        f"{len(tally.breaches)} breaches; recovered in {took} from {done}"
    )


def _page(options: argparse.Namespace, tally: Tally) -> str:
    missing = "" if CAN_BE_FILLED and CAN_CUT else "- Not run as root: no full disk, no cut connections.\n"
    return PAGE.format(
        command=f"make chaos ROUNDS={options.rounds} SEED={options.seed} WRITE={options.write}",
        date=datetime.now(UTC).date(),
        cores=os.cpu_count(),
        load=os.getloadavg()[0],
        table=markdown(tally),
        bound=SETTLED_WITHIN_S,
        quiet=QUIET_PERIOD_S,
        lease=LEASE_S,
        notes=missing,
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path, help="page for the table, written when nothing broke")
    parser.add_argument("--keep", type=Path, help="folder for data and logs; default: a temporary one")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    # an exception, so that the set is stopped and its disk unmounted
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
