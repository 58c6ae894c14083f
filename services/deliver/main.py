"""Delivery's loop: frozen results to their destinations, one thread for each, so that none waits for another."""

import random
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from services.backends.files import FolderStudyFiles
from services.backends.senders import parse_destination, sender_for
from services.backends.store import open_store
from services.lifetime import stop_on_signals
from services.logs import where
from services.settings import Settings
from services.triage.errors import DestinationRefused, Reason, StoreUnavailable, TransientError
from services.triage.ports import DueDelivery, ResultSender, StudyFiles, StudyStore
from services.triage.result import DeliveryState, Destination

log = structlog.get_logger(__name__)

POLL_S = 1.0
BATCH = 16


def run_deliver(settings: Settings) -> None:
    """Deliver until SIGTERM or SIGINT; the result in hand is sent to its end."""
    stop = stop_on_signals()
    destinations = {parse_destination(text) for text in settings.send_to}
    if not destinations:
        stop.wait()
        return
    store, files = open_store(settings.store_url()), FolderStudyFiles(settings.data)
    with ThreadPoolExecutor(len(destinations)) as pool:
        lanes = [
            pool.submit(
                Lane(
                    store=store,
                    files=files,
                    destination=destination,
                    sender=sender_for(destination, settings.ae_title),
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
    """The way to one destination."""

    store: StudyStore
    files: StudyFiles
    destination: Destination
    sender: ResultSender
    retry_s: float
    retry_max_s: float
    stop: threading.Event

    def run(self) -> None:
        """Deliver what is due until a stop is asked."""
        log.info("delivery_started", destination=self.destination.name)
        while not self.stop.is_set():
            try:
                self.stop.wait(self._turn())
            except StoreUnavailable:
                # a delivery that went out unrecorded is sent again: the same bytes
                log.warning("store_unavailable", destination=self.destination.name)
                self.stop.wait(self.retry_s)

    def _turn(self) -> float:
        """Deliver what is due; answers after how many seconds to look again."""
        due = self.store.due_deliveries(self.destination.name, now=_now(), limit=BATCH)
        for delivery in due:
            if self.stop.is_set():
                break
            if not self._deliver(delivery):
                # Others would now wait out the same timeout one by one; each delivery's own pause grows with its tries.
                return self.retry_s
        return 0 if len(due) == BATCH else POLL_S

    def _deliver(self, delivery: DueDelivery) -> bool:
        """Try once. False: the destination is not there now."""
        try:
            self.sender.send([(cls, uid, self.files.result_path(sha256)) for cls, uid, sha256 in delivery.objects])
        except TransientError as error:
            self._try_again(delivery, error.reason)
            return False
        except DestinationRefused as error:
            log.error("delivery_refused", delivery=delivery.delivery_id, reason=error.reason.text)  # noqa: TRY400
            self.store.delivery_failed(delivery.delivery_id, error.reason, now=_now(), retry_at=None)
            return True
        except Exception as error:  # noqa: BLE001 - the border: one delivery nobody foresaw must not stop the others
            found = where(error)
            log.error("unforeseen_error", delivery=delivery.delivery_id, **found)  # noqa: TRY400 - no values
            self._try_again(delivery, Reason(code="internal_error", text=f"unforeseen {found['error']}"))
            return True
        self.store.delivered(delivery.delivery_id, DeliveryState.SENT, now=_now())
        log.info("delivered", delivery=delivery.delivery_id, destination=self.destination.name)
        return True

    def _try_again(self, delivery: DueDelivery, reason: Reason) -> None:
        pause_s = pause_after(delivery.attempt, first_s=self.retry_s, longest_s=self.retry_max_s)
        log.warning("delivery_failed", delivery=delivery.delivery_id, reason=reason.text, retry_in_s=round(pause_s))
        now = _now()
        self.store.delivery_failed(delivery.delivery_id, reason, now=now, retry_at=now + timedelta(seconds=pause_s))


def pause_after(attempt: int, *, first_s: float, longest_s: float) -> float:
    """Seconds to wait after the given attempt (from 1): doubling, at most `longest_s`, with up to a tenth taken off.

    The jitter keeps many deliveries that failed together from coming back together.
    """
    pause_s = min(longest_s, first_s * 2.0 ** min(attempt - 1, 32))
    return pause_s * random.uniform(0.9, 1)  # noqa: S311 - no secret


def _now() -> datetime:
    return datetime.now(UTC)
