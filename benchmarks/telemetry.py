"""What traces cost: the door's C-STORE with none collected, with a collector, and with one that is away.

    .venv/bin/python -m benchmarks.telemetry [--rounds N] [--write docs/measurements/telemetry.md]

The study of benchmarks.ingest, one association, rounds interleaved. `before` is the same door with the trace left out
of it: no span, no context, no longer file name. Beside it the processor time that the trace takes of each instance, by
itself: machines that do other work tell that better.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

from benchmarks import ingest
from services import tracing
from services.gateway.reception import Reception
from tests.support.otlp import collector

INSTANCES = 20_000
WITHOUT = """
from contextlib import nullcontext
from types import SimpleNamespace
from services import tracing
from services.gateway import reception
nothing = SimpleNamespace(context=None, traceparent=None)
reception.Reception.of = lambda *_args, **_told: nothing
tracing.within = lambda _place: nullcontext()
from services.gateway.door import run_door
from services.settings import Settings
run_door(Settings())
"""
WAYS = ("before", "ids only", "collector", "collector away")


def seconds(way: str, study: Path, place: Path, endpoint: str) -> float:
    """Of one study over one association."""
    environment = {"ids only": {}, "collector": {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}, "before": {}}.get(
        way, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    )
    command = mock.patch.object(ingest, "command", return_value=[sys.executable, "-c", WITHOUT])
    with (
        mock.patch.dict(os.environ, environment),
        command if way == "before" else nullcontext(),
        ingest.receiver("vigie", no_delay=True, place=place) as port,
    ):
        return ingest.send(port, [study], no_delay=True)


def processor_us() -> dict[str, float]:
    """Processor time of the trace for each instance, in microseconds: identifiers alone, and with the SDK."""
    with collector() as told:
        taken = {"ids only": _reception_us()}
        with mock.patch.dict(os.environ, told.settings()):
            tracing.begin("door", threads=False)
            taken["collector"] = _reception_us()
        tracing.flush()
        _require_one_each(len(told.spans), 1)
        with mock.patch.dict(os.environ, {"OTEL_SDK_DISABLED": "true"}):
            tracing.begin("door")
        return taken


def _reception_us() -> float:
    reception = Reception("C-STORE")
    reception.of("1.2.3", received_from="CT1")
    begin = time.process_time()
    for _ in range(INSTANCES):
        span = reception.of("1.2.3", received_from="CT1")
        with tracing.within(span.context):
            _ = span.traceparent
    taken = time.process_time() - begin
    reception.end()
    return taken / INSTANCES * 1e6


def _require_one_each(spans: int, associations: int) -> None:
    if spans != associations:
        raise RuntimeError(f"{spans} spans of {associations} associations with a study each")


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for the study and the receivers."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def measure(rounds: int) -> str:
    """The page."""
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    with scratch() as place, collector() as told:
        study = ingest.make_ct(place / "ct")
        for _ in range(rounds):
            for way in WAYS:
                found[way].append(seconds(way, study, place, told.endpoint))
        _require_one_each(len(told.spans), rounds)
    return page(found, processor_us(), rounds)


def page(found: dict[str, list[float]], us: dict[str, float], rounds: int) -> str:
    """As Markdown."""
    before = statistics.median(found["before"])
    lines = [
        "# What traces cost at the door\n",
        "Made again by `python -m benchmarks.telemetry --write docs/measurements/telemetry.md`. C-STORE of a CT of "
        f"{ingest.SLICES} slices (152 MB) over one association by dcmsend, median of {rounds} interleaved rounds on "
        f"one machine of {os.cpu_count()} cores shared with other work (load average {os.getloadavg()[0]:.0f} at the "
        f"end, {datetime.now(UTC):%Y-%m-%d}): trust the ratios, and the processor time more. `before`: the same "
        "door with the trace left out of it.\n",
        "| traces | median s | min s | x before | processor time of the trace, µs an instance |",
        "|---|---|---|---|---|",
    ]
    for way, times in found.items():
        own = f"{us[way]:.1f}" if way in us else ""
        median = statistics.median(times)
        lines.append(f"| {way} | {median:.2f} | {min(times):.2f} | {median / before:.2f} | {own} |")
    lines.append(
        "\nThe SDK makes one span for an association and study, and sends it when the peer has gone; an instance costs "
        "the same with it and without. In file names an instance's trace takes 35 bytes."
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    text = measure(arguments.rounds)
    print(text)  # noqa: T201
    if arguments.write:
        arguments.write.write_text(text)


if __name__ == "__main__":
    main()
