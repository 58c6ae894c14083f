"""A hospital's busiest hour against the production set; exit code 1 when anything is lost or a target is missed.

make load [MINUTES=30] [SEED=1] [WRITE=docs/measurements/load.md]
.venv/bin/python -m load.campaign --minutes 30 --write docs/measurements/load.md
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from rich.console import Console

from load.limits import broken
from load.losing import database_bytes, lost
from load.page import growths, page, report, verdicts
from load.phase import Campaign, Phase
from load.senders import senders
from load.the_set import the_set
from load.watching import watching
from services.logs import configure_logging
from services.sizing.mix import AN_HOUR, MIX, gb_an_hour

IN_MEMORY = Path("/dev/shm")
ROOM_LEFT_GB = 5.0

# Before the stretch begins all is as it is in a hospital: the work list is full (its first page has 100 rows), and the
# desk has answered for some time. It keeps more from answer to answer for the first 3,000 of /metrics, 12 hours of
# Prometheus, and nothing after that; and who looks at a study whole, as the dispatcher does, is as large as the largest
# yet made it. Within 30 minutes each looks like a leak.
FILL_AN_HOUR, FILL_MINUTES = 3600.0, 2.5
LARGE_AN_HOUR, LARGE_MINUTES = 240.0, 4.0
ANSWERS = {"/metrics": 4000, "/": 500}
SMALLEST, LARGEST = (best(MIX, key=lambda kind: kind.study_mb) for best in (min, max))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign; answers the exit code."""
    options = _parse(arguments)
    configure_logging("ERROR")
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    began_with = os.getloadavg()[0]
    with _folder(options.keep) as folder, ExitStack() as stack:
        running = stack.enter_context(the_set(folder, quiet_period_s=options.quiet_period))
        made_in = Path(tempfile.mkdtemp(prefix="vigie-load-", dir=IN_MEMORY if IN_MEMORY.is_dir() else folder))
        campaign = Campaign(
            running=running,
            senders=stack.enter_context(senders(options.senders, address=running.dicom, folder=made_in)),
            watch=stack.enter_context(watching(running)),
            client=stack.enter_context(httpx.Client(base_url=running.api, timeout=60)),
            seed=options.seed,
            tell=console.print,
        )
        empty = database_bytes(running.database_url)[0]
        filling = [
            campaign.play("before", an_hour=FILL_AN_HOUR, minutes=FILL_MINUTES, kinds=[SMALLEST]),
            campaign.play("large", an_hour=LARGE_AN_HOUR, minutes=LARGE_MINUTES, kinds=[LARGEST]),
        ]
        for path, times in ANSWERS.items():
            console.print(f"asking for {path} {times} times")
            for _ in range(times):
                campaign.client.get(path, headers={"Accept": "text/html"}).raise_for_status()
        phases = list(_play(campaign, options, folder, console))
        console.print("looking for all that was sent")
        sent = [one for phase in (*filling, *phases) for one in phase.sent]
        missing = lost(sent, running.data, campaign.client, frozenset(running.pacs.kept()))
        missing += [
            f"{phase.name}: {phase.ordered - len(phase.sent)} studies have not come back from their senders"
            for phase in (*filling, *phases)
            if phase.ordered != len(phase.sent)
        ]
        size, known = database_bytes(running.database_url)
    text = report(phases, missing, (size - empty, known))
    console.print(text, markup=False, soft_wrap=True)
    for what in missing:
        console.print(what, style="red", markup=False, soft_wrap=True)
    if options.write:
        options.write.write_text(
            page(
                _command(options),
                text,
                load=began_with,
                senders=options.senders,
                quiet_s=options.quiet_period,
                step_minutes=options.step_minutes,
            )
        )
    return int(any("NOT met" in line for line in verdicts(phases[0], missing, growths(phases[0]))))


def _play(campaign: Campaign, options: argparse.Namespace, folder: Path, console: Console) -> Iterator[Phase]:
    """The stretch at the planned rate, then twice as much each time, until something breaks or the disk is full."""
    phase = campaign.play("planned", an_hour=options.rate, minutes=options.minutes)
    yield phase
    while options.step_minutes and phase.an_hour < options.most and not broken(phase):
        an_hour = 2 * phase.an_hour
        needed_gb = gb_an_hour(an_hour) * options.step_minutes / 60 + ROOM_LEFT_GB
        if shutil.disk_usage(folder).free / 1e9 < needed_gb:
            console.print(f"no room for {an_hour:.0f} studies an hour: {needed_gb:.0f} GB are needed", style="yellow")
            return
        phase = campaign.play(f"{an_hour:.0f} an hour", an_hour=an_hour, minutes=options.step_minutes)
        yield phase


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    folder = keep or Path(tempfile.mkdtemp(prefix="vigie-load-"))
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _command(options: argparse.Namespace) -> str:
    return (
        f"make load MINUTES={options.minutes:g} STEP={options.step_minutes:g} SEED={options.seed} WRITE={options.write}"
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30, help="of the stretch at the planned rate")
    parser.add_argument("--rate", type=float, default=AN_HOUR, help="studies an hour")
    parser.add_argument(
        "--step-minutes", type=float, default=3, help="of each doubled rate after it; 0: the rate stays"
    )
    parser.add_argument(
        "--most", type=float, default=32 * AN_HOUR, help="studies an hour at which to stop all the same"
    )
    parser.add_argument("--senders", type=int, default=8, help="modalities, each with one association at a time")
    parser.add_argument("--quiet-period", type=float, default=15.0, help="VIGIE_QUIET_PERIOD_S")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path, help="page for the tables")
    parser.add_argument(
        "--keep", type=Path, help="folder for data and logs; default: a temporary one, removed at the end"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    # an exception, so that all that was started is stopped
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
