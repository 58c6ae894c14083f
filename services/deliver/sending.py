"""Frozen results to one destination: their objects, or what a receiver is told of them."""

import threading
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

import structlog

from services import tracing
from services.deliver.lane import POLL_S, Lane, utc_now
from services.deliver.metrics import DURATIONS, TRIES
from services.logs import where
from services.tracing import Kind
from services.triage.errors import (
    DestinationRefused,
    DestinationUnavailable,
    Reason,
    StoreUnavailable,
    TransientError,
)
from services.triage.ports import DueDelivery, Notifier, ResultSender, StudyFiles
from services.triage.result import OVERTAKEN

log = structlog.get_logger(__name__)


class Try(StrEnum):
    """How one try to hand over ended. unavailable: the destination is not there now."""

    ARRIVED = "arrived"
    UNAVAILABLE = "unavailable"
    REFUSED = "refused"
    BROKE = "broke"


@dataclass(frozen=True, kw_only=True)
class _Outgoing(Lane):
    """Hands over what is due. ask_commitment: it is then asked about (`services.deliver.commitment`)."""

    ask_commitment: bool = False
    # also at start: what an earlier process left waiting is brought forward by the first success
    _was_down: threading.Event = field(default_factory=threading.Event, init=False)

    def __post_init__(self) -> None:
        self._was_down.set()

    def turn(self) -> float:
        """Deliver the first that is due."""
        claimed = self.store.claim_delivery(self.destination.name, now=utc_now(), duration=self.claim)
        if claimed is None:
            return POLL_S
        with (
            tracing.span(
                self.work,
                parent=claimed.traceparent,
                kind=Kind.CLIENT,
                delivery=claimed.delivery_id,
                destination=self.destination.name,
                attempt=claimed.attempt,
            ) as span,
            self.keeping(claimed),
        ):
            with DURATIONS.labels(self.destination.name).time():
                outcome = self._deliver(claimed)
            TRIES.labels(self.destination.name, outcome).inc()
            span.tell(outcome=outcome)
        # Others would now wait out the same timeout one by one; each delivery's own pause grows with its tries.
        return self.retry_s if outcome is Try.UNAVAILABLE else 0

    @abstractmethod
    def hand_over(self, delivery: DueDelivery) -> None:
        """Return once the destination has it. Raises DestinationUnavailable, DestinationRefused."""

    def _deliver(self, delivery: DueDelivery) -> Try:
        """Try once."""
        try:
            self.hand_over(delivery)
        except StoreUnavailable:
            raise
        except TransientError as error:
            self._was_down.set()
            taken = error.taken if isinstance(error, DestinationUnavailable) else ()
            self._try_again(delivery, error.reason, taken=taken)
            return Try.UNAVAILABLE
        except DestinationRefused as error:
            log.error("delivery_refused", delivery=delivery.delivery_id, reason=error.reason.text)  # noqa: TRY400
            self.store.delivery_failed(delivery, error.reason, now=utc_now(), retry_at=None)
            return Try.REFUSED
        except Exception as error:  # noqa: BLE001 - the border: one delivery nobody foresaw must not stop the others
            found = where(error)
            log.error("unforeseen_error", delivery=delivery.delivery_id, **found)  # noqa: TRY400 - no values
            self._try_again(delivery, Reason(code="internal_error", text=f"unforeseen {found['error']}"))
            return Try.BROKE
        self.store.delivered(delivery.delivery_id, now=utc_now(), ask_commitment=self.ask_commitment)
        log.info("delivered", delivery=delivery.delivery_id, destination=self.destination.name)
        if self._was_down.is_set():
            self._was_down.clear()
            self.store.destination_back(self.destination.name, now=utc_now())
        return Try.ARRIVED

    def _try_again(self, delivery: DueDelivery, reason: Reason, *, taken: Sequence[str] = ()) -> None:
        now, pause = utc_now(), self.pause(delivery.attempt)
        log.warning("delivery_failed", delivery=delivery.delivery_id, reason=reason.text, retry_in_s=pause.seconds)
        self.store.delivery_failed(delivery, reason, now=now, retry_at=now + pause, taken=taken)


@dataclass(frozen=True, kw_only=True)
class Sending(_Outgoing):
    """Sends the objects of results."""

    work: ClassVar[str] = "delivery"

    files: StudyFiles
    sender: ResultSender

    def hand_over(self, delivery: DueDelivery) -> None:
        """See ResultSender."""
        self.sender.send([(cls, uid, self.files.result_path(sha256)) for cls, uid, sha256 in delivery.objects])


@dataclass(frozen=True, kw_only=True)
class Telling(_Outgoing):
    """Tells a receiver of results."""

    work: ClassVar[str] = "notification"

    notifier: Notifier

    def hand_over(self, delivery: DueDelivery) -> None:
        """See Notifier. What the receiver knows better by now is not said."""
        notification = self.store.notification(delivery.delivery_id)
        if notification.overtaken:
            raise DestinationRefused(OVERTAKEN.code, OVERTAKEN.text)
        self.notifier.notify(notification)
