"""Metrics that the service level objectives are measured by (docs/observability.md): door, flags in time, loss."""

import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from services.backends.store import SqlStudyStore
from services.backends.store.scrub import Scrubbed
from services.settings import Settings
from services.triage.errors import StoreUnavailable

WINDOWS = {
    "5m": timedelta(minutes=5),
    "30m": timedelta(minutes=30),
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "1d": timedelta(days=1),
    "3d": timedelta(days=3),
}
"""Of the multi-window, multi-burn-rate alerts (Google, The Site Reliability Workbook, chapter 5)."""

_PATIENCE_S = 5.0
_TOO_MANY = (0x03, 0x02)  # source and diagnostic of a rejection: local limit exceeded (PS3.8 table 9-21)


class ServiceLevelCollector(Collector):
    """Flags in time, and instances lost, from the database."""

    def __init__(self, store: SqlStudyStore, settings: Settings, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._scrubs = settings.scrub_files_per_s > 0
        self._target = timedelta(seconds=settings.flag_target_s)
        self._clock = clock

    def describe(self) -> list[Metric]:
        """Nothing: else the registry would ask the store when it is built."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families; while the store is away only whether it is searched."""
        yield GaugeMetricFamily(
            "vigie_scrub_switched_on",
            "1 where VIGIE_SCRUB_FILES_PER_S has kept files looked for. At 0 nobody would notice that one is lost.",
            value=int(self._scrubs),
        )
        try:
            flags = self._store.flags_in_time(tuple(WINDOWS.values()), target=self._target, now=self._clock())
            scrubbed = self._store.scrub.state()
            recorded = self._store.instances_recorded()
        except StoreUnavailable:
            return
        told = GaugeMetricFamily(
            "vigie_flags",
            "Studies flagged within a window, by whether that took longer than VIGIE_FLAG_TARGET_S since the last "
            "image; complete studies that wait for longer count as late. If late grows: as VigieFlagsLate.",
            labels=["window", "in_time"],
        )
        for name, window in WINDOWS.items():
            in_time, late = flags[window]
            told.add_metric([name, "true"], in_time)
            told.add_metric([name, "false"], late)
        yield told
        yield CounterMetricFamily(
            "vigie_instances_recorded",
            "Instances that the store has recorded, ever: the highest serial. If it stands still while senders send, "
            "look at vigie_inbox_files.",
            value=recorded,
        )
        yield from _scrubbed(scrubbed)


def _scrubbed(found: Scrubbed) -> Iterator[Metric]:
    lost = GaugeMetricFamily(
        "vigie_instances_lost",
        "Acknowledged instances whose file is missing, damaged or unreadable. Above 0: see VigieInstancesLost in the "
        "runbook at once.",
        labels=["fault"],
    )
    for fault in ("missing", "damaged", "unreadable"):
        lost.add_metric([fault], found.lost.get(fault, 0))
    looked = CounterMetricFamily(
        "vigie_scrub_files",
        "Kept files that were looked for, and read to the last byte. If it stands still, no dispatcher runs.",
        labels=["how"],
    )
    looked.add_metric(["looked_for"], found.checked)
    looked.add_metric(["read"], found.read)
    yield from (lost, looked)
    finished = GaugeMetricFamily(
        "vigie_scrub_timestamp_seconds",
        "When every kept instance had last been looked for; absent until then. Older than a few days: raise "
        "VIGIE_SCRUB_FILES_PER_S.",
    )
    if found.round_finished_at is not None:
        finished.add_metric([], found.round_finished_at.timestamp())
    yield finished


class DoorCollector(Collector):
    """What only a process beside the DICOM listener can tell: whether it answers, and what waits in its inbox."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def describe(self) -> list[Metric]:
        """Nothing: else the listener would be asked when the registry is built."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Three gauges."""
        yield GaugeMetricFamily(
            "vigie_door_answers",
            "1 while the DICOM listener answers an association, or refuses us by name. At 0 senders get no answer: see "
            "whether the door runs, and whether VIGIE_MAX_ASSOCIATIONS are in use.",
            value=int(answers(self._settings)),
        )
        files, oldest_s = inbox(self._settings.data)
        yield GaugeMetricFamily(
            "vigie_inbox_files",
            "Instances that are kept and not yet recorded. If it grows, look at the database and the dispatcher's log.",
            value=files,
        )
        yield GaugeMetricFamily(
            "vigie_oldest_inbox_file_age_seconds",
            "Age of the oldest of them, 0 when none. If it grows, look at the database and the dispatcher's log.",
            value=oldest_s,
        )


def answers(settings: Settings) -> bool:
    """Whether the DICOM listener beside us takes an association (C-ECHO), or says why not; not whether it is full."""
    ae = AE(ae_title=settings.ae_title)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = _PATIENCE_S
    ae.add_requested_context(Verification)
    host, port = settings.dicom.rsplit(":", 1)
    # it may listen on every address; we are on the same machine
    association = ae.associate(
        "127.0.0.1" if host in ("0.0.0.0", "", "[::]") else host.strip("[]"),  # noqa: S104 - it is not bound
        int(port),
        ae_title=settings.ae_title,
    )
    if association.is_established:
        status = association.send_c_echo().get("Status")
        association.release()
        return bool(status == 0)
    rejected = association.acceptor.primitive if association.is_rejected else None
    return bool(rejected is not None and (rejected.result_source, rejected.diagnostic) != _TOO_MANY)


def inbox(data: Path) -> tuple[int, float]:
    """(files, age of the oldest in seconds) of what the door has kept and nobody has recorded."""
    files, oldest = 0, None
    try:
        with os.scandir(data / "inbox") as entries:
            for entry in entries:
                if not entry.name.endswith(".dcm"):
                    continue
                try:
                    at = entry.stat().st_mtime
                except FileNotFoundError:  # recorded meanwhile
                    continue
                files, oldest = files + 1, at if oldest is None else min(oldest, at)
    except FileNotFoundError:
        return 0, 0.0
    return files, 0.0 if oldest is None else max(0.0, time.time() - oldest)
