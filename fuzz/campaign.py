"""Fuzzes a running service; prints a table, and with --write makes a page of it. Exit code 1 when anything is found.

make fuzz [CASES=100000] [SEED=1] [WRITE=docs/measurements/fuzz.md]
.venv/bin/python -m fuzz.campaign --cases 2000 --seed 7

Case N of a seed is the same in every run on the same files. What is found is kept in build/fuzz, one file each.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from fuzz import dicom, hl7, http, pdus
from fuzz.seeds import seeds
from fuzz.service import running
from fuzz.table import PAGE, markdown
from fuzz.tally import Tally
from fuzz.watch import Watch
from services.logs import configure_logging

TARGETS = ("hl7", "pdus", "http", "dicom")
HL7_SHARE, PDU_SHARE, HTTP_SHARE = 0.1, 0.01, 1 / 4000
FOUND = Path("build/fuzz")
_MEMORY = Path("/dev/shm")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign; answers the exit code."""
    options = _parse(arguments)
    configure_logging("ERROR")
    warnings.simplefilter("ignore")
    began = time.monotonic()
    tallies = campaign(options.cases, str(options.seed), options.targets)
    seconds = time.monotonic() - began
    print(markdown(tallies))
    _keep(tallies)
    found = sum(len(tally.findings) for tally in tallies)
    if not found and options.write:
        options.write.write_text(_page(options, tallies, seconds))
    return 1 if found else 0


def campaign(count: int, seed: str, targets: Sequence[str] = TARGETS) -> list[Tally]:
    """Every target against a service of its own; `count` is that of instances, the others have a share of it."""
    tallies: list[Tally] = []
    # in memory where there is such a place: a disk would be waited for at each of a hundred thousand instances
    folder = Path(tempfile.mkdtemp(prefix="vigie-fuzz-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None))
    origins = seeds()
    try:
        for target in targets:
            print(f"{datetime.now(UTC):%H:%M:%S} {target}", file=sys.stderr)
            if target == "http":
                tallies.append(http.run(folder / target, cases_each=max(3, int(count * HTTP_SHARE)), seed=seed))
                continue
            with running(folder / target) as service:
                watch = Watch(service)
                watch.begin()
                if target == "hl7":
                    tallies.append(hl7.run(service, watch, count=int(count * HL7_SHARE), seed=seed))
                elif target == "pdus":
                    tallies.append(pdus.run(service, origins, watch, count=int(count * PDU_SHARE), seed=seed))
                else:
                    tallies += dicom.run(service, origins, watch, count=count, seed=seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return tallies


def _keep(tallies: Sequence[Tally]) -> None:
    """Show each finding, and keep what led to it."""
    for tally in tallies:
        for number, finding in enumerate(tally.findings):
            print(f"{tally.target}: {finding}", file=sys.stderr)
            if finding.content:
                FOUND.mkdir(parents=True, exist_ok=True)
                (FOUND / f"{tally.target.split()[0].lower()}.{number}.bin").write_bytes(finding.content)


def _page(options: argparse.Namespace, tallies: Sequence[Tally], seconds: float) -> str:
    return PAGE.format(
        command=f"make fuzz CASES={options.cases} SEED={options.seed} WRITE={options.write}",
        date=datetime.now(UTC).date(),
        minutes=seconds / 60,
        cores=os.cpu_count(),
        load=os.getloadavg()[0],
        table=markdown(tallies),
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000, help="instances by C-STORE and STOW-RS")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=TARGETS)
    parser.add_argument("--write", type=Path, help="page for the table, written when nothing was found")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    # an exception, so that the service is stopped and its folder removed
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
