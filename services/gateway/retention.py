"""Retention: what nobody needs here any more goes, in a process of its own beside the door.

It can die between any two steps: what is to go is written down before a file is touched (`store/retaining.py`). Of
several such processes one works at a time, and makes pauses as long as its work: whoever takes in images comes first.
"""

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice

import structlog

from services.backends.files import FolderStudyFiles
from services.backends.senders import tenants_in_force
from services.backends.store import SqlStudyStore, open_store
from services.backends.store.retaining import UNTOUCHED
from services.gateway.erasure import Erasure
from services.gateway.file_claim import FileClaim
from services.keeping import keeping
from services.lifetime import stop_on_signals
from services.logs import Conditions, where
from services.patience import wait_for
from services.settings import Settings
from services.triage.errors import BackupRefused, TransientError
from services.triage.ports import StudyFiles
from services.triage.retention import Hold, Kept, Retention, RetentionReport

log = structlog.get_logger(__name__)

POLL_S = 20.0
PRESSED_EVERY = timedelta(minutes=10)
CLAIM_S = 60.0
ENOUGH = 0.02
"""Of the disk: so much more than the least is made free, so that it is not at the least again at once."""

UNNAMED_AFTER = timedelta(days=1)
"""A file of a result that no result names is of a worker that died; one that still works is not so slow."""

RECORDS_PER_PASS = 500
_EVERYTHING = datetime.max.replace(tzinfo=UTC)

Space = Callable[[], tuple[int, int]]
"""Bytes that are free, and that there are."""


def run_retention(settings: Settings) -> None:
    """Look until SIGTERM or SIGINT; blocks."""
    rules = settings.retention()
    for name in set(rules.of_tenant) - {one.name for one in tenants_in_force(settings).tenants}:
        log.warning("retention_of_unknown_tenant", tenant=name)
    store = wait_for("database", lambda: open_store(settings.store_url()))
    stop = stop_on_signals()
    keeper = Keeper(
        store=store,
        files=FolderStudyFiles(settings.data),
        rules=rules,
        space=lambda: space_of(settings),
        interval=timedelta(seconds=settings.retention_interval_s),
        stop=stop,
    )
    conditions = Conditions(log)
    log.info("retention_started")
    while not stop.is_set():
        try:
            keeper.turn()
        except (TransientError, OSError) as error:
            conditions.begins("retention_postponed", error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - the border: one odd study must not end the process
            log.error("retention_broke", **where(error))  # noqa: TRY400 - no values
        else:
            conditions.ends("retention_postponed")
        stop.wait(POLL_S)
    log.info("retention_stopped")


def space_of(settings: Settings) -> tuple[int, int]:
    """Of the disk that the data folder is on."""
    usage = shutil.disk_usage(settings.data)
    return usage.free, usage.total


@dataclass(frozen=True, kw_only=True)
class Keeper:
    """Makes passes; each method raises StoreUnavailable, OSError.

    confirm: raises where another process may have taken over; it is asked before any file goes.
    """

    store: SqlStudyStore
    files: StudyFiles
    rules: Retention
    space: Space
    interval: timedelta
    stop: threading.Event = field(default_factory=threading.Event)
    confirm: Callable[[], None] = lambda: None

    def turn(self) -> RetentionReport | None:
        """Make a pass when it is time, or the disk is nearly full, and nobody else does."""
        now = _now()
        last, _ = self.store.retaining.report()
        hurry = self._is_pressed() and (last is None or last.finished_at <= now - PRESSED_EVERY)
        if not hurry and not self.store.retaining.is_due(now=now):
            return None
        return self.run(due=not hurry)

    def run(self, *, due: bool = False) -> RetentionReport | None:
        """Make a pass; None: another process does, or copies files (`vigie backup`)."""
        retaining, lasts = self.store.retaining, timedelta(seconds=CLAIM_S)
        claim = retaining.claim(now=_now(), duration=lasts, due=due)
        if claim is None:
            return None
        report = None
        try:
            mine = FileClaim(store=self.store, claim=claim, lasts=lasts)
            with keeping(mine.renew, claim_s=CLAIM_S, what="retention"):
                report = replace(self, confirm=mine.confirm)._pass()
        except BackupRefused as error:
            log.warning("retention_overtaken", reason=error.reason.code)
        finally:
            retaining.release(claim, report=report, next_at=_now() + self.interval if report else None)
        if report is not None:
            log.info("retention_passed", studies=report.studies, bytes=report.image_bytes, pressed=report.pressed)
        return report

    def studies(self, now: datetime) -> Iterator[Kept]:
        """All with images here, by their first instance."""
        place = None
        while True:
            page, place = self.store.retaining.kept(received_before=_EVERYTHING, after=place, now=now)
            yield from page
            if place is None:
                return

    def _pass(self) -> RetentionReport | None:
        self._finish()
        report = self._images()
        if report is None:
            return None
        self._records()
        if self.rules.quarantine is not None:
            self._quarantine(_now() - self.rules.quarantine)
        self._unnamed(_now() - UNNAMED_AFTER)
        return report

    def _finish(self) -> None:
        """What was decided before, perhaps by a process that has died since."""
        for one in self.store.retaining.open():
            if one.not_newer_than is not None:
                self.confirm()
                deleted = self.files.delete(one.digests, not_newer_than=one.not_newer_than)
                self.store.retaining.done(one.study_instance_uid, deleted)
                log.info("images_deleted", study_instance_uid=one.study_instance_uid, bytes=deleted.size_bytes)
        self.store.retaining.decide_anew()
        for one in self.store.retaining.open(whole=True):
            self._erasure().go_on(one.study_instance_uid)

    def _images(self) -> RetentionReport | None:
        """None: a stop was asked."""
        now = _now()
        studies = images = size = 0
        oldest: datetime | None = None
        pressed = False
        held: Counter[Hold] = Counter()
        for one in self.studies(now):
            if self.stop.is_set():
                return None
            pressed = self._is_pressed(ENOUGH if pressed else 0.0)
            if self.rules.cutoff(one, now, pressed=pressed) is not None:
                holds = self.rules.holds(one, now)
                if not holds and self._delete(one, now, pressed=pressed):
                    continue
                held.update(holds)
            studies, images, size = studies + 1, images + one.images, size + one.size_bytes
            oldest = min(oldest or one.since, one.since)
        free, disk = self.space()
        return RetentionReport(
            finished_at=_now(),
            studies=studies,
            images=images,
            image_bytes=size,
            oldest_at=oldest,
            held=dict(held),
            free_bytes=free,
            disk_bytes=disk,
            pressed=self._is_pressed(),
        )

    def _delete(self, one: Kept, now: datetime, *, pressed: bool) -> bool:
        begun = time.monotonic()
        done = self.store.retaining.decide(one.study_instance_uid, self.rules, now=now, pressed=pressed)
        if done:
            self._finish()
            self.stop.wait(min(time.monotonic() - begun, 5.0))
        return done

    def _is_pressed(self, more: float = 0.0) -> bool:
        """Whether less is free than the rules want, and so much more."""
        if self.rules.free_fraction is None:
            return False
        free, disk = self.space()
        return free < (self.rules.free_fraction + more) * disk

    def _records(self) -> None:
        if self.rules.results is None:
            return
        before, erasure = _now() - self.rules.results, self._erasure()
        for uid in self.store.retaining.recorded(since_before=before, limit=RECORDS_PER_PASS, now=_now()):
            if self.stop.is_set():
                return
            erasure.expire(uid, untouched_since=before, reason=f"{UNTOUCHED} {self.rules.results.days} days")

    def _erasure(self) -> Erasure:
        return Erasure(store=self.store, files=self.files, confirm=self.confirm)

    def _quarantine(self, before: datetime) -> None:
        old = [path for path in self.files.quarantined() if path.stat().st_mtime <= before.timestamp()]
        if old:
            self.confirm()
            log.info("quarantine_deleted", files=len(old), bytes=self.files.erase_quarantined(old))

    def _unnamed(self, before: datetime) -> None:
        """Objects that a worker wrote and died before it could freeze its result."""
        old = self.files.results(not_newer_than=before)
        while some := list(islice(old, 1000)):
            if unnamed := self.store.retaining.unnamed(some):
                self.confirm()
                size = self.files.erase_results(unnamed)
                log.info("unnamed_results_deleted", files=len(unnamed), bytes=size)


def _now() -> datetime:
    return datetime.now(UTC)
