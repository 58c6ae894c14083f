"""Delivery's loop: frozen results to their destinations, one thread for each, so that none waits for another."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog

from services.backends.files import FolderStudyFiles
from services.backends.senders import parse_destination, sender_for
from services.backends.store import open_store
from services.lifetime import stop_on_signals
from services.logs import Conditions, where
from services.patience import wait_for
from services.settings import Settings
from services.triage.errors import DestinationRefused, Reason, StoreUnavailable, TransientError
from services.triage.ports import DueDelivery, ResultSender, StudyFiles, StudyStore
from services.triage.result import DeliveryState, Destination

log = structlog.get_logger(__name__)

POLL_S = 0.2  # a look takes no lock
STORE_PAUSE_S = 2.0


def run_deliver(settings: Settings) -> None:
    """Deliver until SIGTERM or SIGINT; the result in hand is sent to its end."""
    store = wait_for("database", lambda: open_store(settings.store_url()))
    stop = stop_on_signals()
    destinations = {parse_destination(text) for text in settings.send_to}
    if not destinations:
        stop.wait()
        return
    files = FolderStudyFiles(settings.data)
    with ThreadPoolExecutor(len(destinations)) as pool:
        lanes = [
            pool.submit(
                Lane(
                    store=store,
                    files=files,
                    destination=destination,
                    sender=sender_for(destination, settings),
                    claim_s=settings.lease_s,
                    retry_s=settings.delivery_retry_s,
                    retry_max_s=settings.delivery_retry_max_s,
                    stop=stop,
                ).run
            )
            for destination in destinations
        ]
        wait(lanes, return_when=FIRST_EXCEPTION)
        stop.set()
    for lane in lanes:
        lane.result()


@dataclass(frozen=True, kw_only=True)
class Lane:
    """The way to one destination; several processes may each have one.

    claim_s: another process may take a delivery whose sender was silent for so long.
    """

    store: StudyStore
    files: StudyFiles
    destination: Destination
    sender: ResultSender
    claim_s: float
    retry_s: float
    retry_max_s: float
    stop: threading.Event
    _conditions: Conditions = field(default_factory=lambda: Conditions(log), init=False)
    # also at start: what an earlier process left waiting is brought forward by the first success
    _was_down: threading.Event = field(default_factory=threading.Event, init=False)

    def run(self) -> None:
        """Deliver what is due until a stop is asked."""
        log.info("delivery_started", destination=self.destination.name)
        self._was_down.set()
        while not self.stop.is_set():
            try:
                pause_s = self._turn()
            except StoreUnavailable:
                # a delivery that went out unrecorded is sent again: the same bytes
                self._conditions.begins("store_unavailable", destination=self.destination.name)
                pause_s = STORE_PAUSE_S
            else:
                self._conditions.ends("store_unavailable", destination=self.destination.name)
            self.stop.wait(pause_s)

    def _turn(self) -> float:
        """Deliver the first that is due; answers after how many seconds to look again."""
        claimed = self.store.claim_delivery(self.destination.name, now=_now(), duration=self._claim)
        if claimed is None:
            return POLL_S
        with self._keeping(claimed):
            arrived = self._deliver(claimed)
        # Others would now wait out the same timeout one by one; each delivery's own pause grows with its tries.
        return 0 if arrived else self.retry_s

    @property
    def _claim(self) -> timedelta:
        return timedelta(seconds=self.claim_s)

    @contextmanager
    def _keeping(self, claimed: DueDelivery) -> Iterator[None]:
        """Renew a claim until the block ends."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(self.claim_s / 3):
                try:
                    self.store.renew_claim(claimed, now=_now(), duration=self._claim)
                except StoreUnavailable:
                    log.warning("claim_not_renewed", delivery=claimed.delivery_id)

        thread = threading.Thread(target=renew, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _deliver(self, delivery: DueDelivery) -> bool:
        """Try once. False: the destination is not there now."""
        try:
            self.sender.send([(cls, uid, self.files.result_path(sha256)) for cls, uid, sha256 in delivery.objects])
        except TransientError as error:
            self._was_down.set()
            self._try_again(delivery, error.reason)
            return False
        except DestinationRefused as error:
            log.error("delivery_refused", delivery=delivery.delivery_id, reason=error.reason.text)  # noqa: TRY400
            self.store.delivery_failed(delivery, error.reason, now=_now(), retry_at=None)
            return True
        except Exception as error:  # noqa: BLE001 - the border: one delivery nobody foresaw must not stop the others
            found = where(error)
            log.error("unforeseen_error", delivery=delivery.delivery_id, **found)  # noqa: TRY400 - no values
            self._try_again(delivery, Reason(code="internal_error", text=f"unforeseen {found['error']}"))
            return True
        self.store.delivered(delivery.delivery_id, DeliveryState.SENT, now=_now())
        log.info("delivered", delivery=delivery.delivery_id, destination=self.destination.name)
        if self._was_down.is_set():
            self._was_down.clear()
            self.store.destination_back(self.destination.name, now=_now())
        return True

    def _try_again(self, delivery: DueDelivery, reason: Reason) -> None:
        pause_s = pause_after(delivery.attempt, first_s=self.retry_s, longest_s=self.retry_max_s)
        log.warning("delivery_failed", delivery=delivery.delivery_id, reason=reason.text, retry_in_s=round(pause_s))
        now = _now()
        self.store.delivery_failed(delivery, reason, now=now, retry_at=now + timedelta(seconds=pause_s))


def pause_after(attempt: int, *, first_s: float, longest_s: float) -> float:
    """Seconds to wait after the given attempt (from 1): doubling, at most `longest_s`, with up to a tenth taken off.

    The jitter keeps many deliveries that failed together from coming back together.
    """
    pause_s = min(longest_s, first_s * 2.0 ** min(attempt - 1, 32))
    return pause_s * random.uniform(0.9, 1)  # noqa: S311 - no secret


def _now() -> datetime:
    return datetime.now(UTC)
