"""Proof that one destination keeps what it took: asked for until it is there, or given up with a reason."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

import structlog
from pydicom.uid import generate_uid

from services import tracing
from services.committed import record_report
from services.deliver.lane import POLL_S, Lane, utc_now
from services.logs import where
from services.tracing import Kind
from services.triage.commitment import UNANSWERED, UNSUPPORTED, CommitmentReport
from services.triage.errors import DestinationRefused, LeaseLost, Reason, StoreUnavailable, TransientError
from services.triage.ports import CommitmentUser, DueCommitment
from services.triage.result import DeliveryState

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Committing(Lane):
    """Asks for the Storage Commitment of what was sent; the answer may come here or at the door.

    answer_within_s: without an answer for so long it is asked again. max_requests: then it is given up.
    """

    work: ClassVar[str] = "commitment"

    user: CommitmentUser
    answer_within_s: float
    max_requests: int

    def turn(self) -> float:
        """Do what is due for the first delivery: ask, send again, or give up."""
        due = self.store.claim_commitment(self.destination.name, now=utc_now(), duration=self.claim)
        if due is None:
            return POLL_S
        with tracing.span(
            "commitment",
            parent=due.delivery.traceparent,
            kind=Kind.CLIENT,
            delivery=due.delivery.delivery_id,
            destination=self.destination.name,
            requests=due.requests,
        ):
            return self._go_on(due)

    def _go_on(self, due: DueCommitment) -> float:
        if due.requests >= self.max_requests:
            text = f"{due.requests} requests for storage commitment had no answer"
            self._give_up(due, due.failed or Reason(code=UNANSWERED, text=text))
            return 0
        if due.failed is not None:
            now, pause = utc_now(), self.pause(due.requests)
            log.warning("commitment_failed", delivery=due.delivery.delivery_id, reason=due.failed.text)
            self._put_off(due, due.failed, state=DeliveryState.PENDING, next_at=now + pause)
            return 0
        with self.keeping(due.delivery):
            arrived = self._ask(due)
        # let go of what now waits for its answer
        self.store.renew_claim(due.delivery, now=utc_now(), duration=timedelta(0))
        return 0 if arrived else self.retry_s

    def _ask(self, due: DueCommitment) -> bool:
        """Ask once. False: the destination is not there now."""
        delivery, again = due.delivery, self.pause(due.delivery.attempt)
        try:
            self.user.ask(
                [(sop_class_uid, uid) for sop_class_uid, uid, _ in delivery.objects],
                begin=lambda: self._begin(due),
                record=self._record,
            )
        except StoreUnavailable:
            raise
        except LeaseLost:
            return True
        except TransientError as error:
            self._put_off(due, error.reason, next_at=utc_now() + again)
            return False
        except DestinationRefused as error:
            self._refused(due, error)
        except Exception as error:  # noqa: BLE001 - the border: one delivery nobody foresaw must not stop the others
            found = where(error)
            log.error("unforeseen_error", delivery=delivery.delivery_id, **found)  # noqa: TRY400 - no values
            reason = Reason(code="internal_error", text=f"unforeseen {found['error']}")
            self._put_off(due, reason, next_at=utc_now() + again)
        return True

    def _begin(self, due: DueCommitment) -> str:
        """Keep the transaction, before the peer hears of it."""
        transaction_uid, now = generate_uid(prefix=None), utc_now()
        again_at = now + timedelta(seconds=self.answer_within_s)
        self.store.commitment_asked(due, transaction_uid, now=now, again_at=again_at)
        log.info("commitment_asked", delivery=due.delivery.delivery_id, transaction=transaction_uid)
        return transaction_uid

    def _record(self, report: CommitmentReport) -> bool:
        return record_report(self.store, report, now=utc_now())

    def _refused(self, due: DueCommitment, error: DestinationRefused) -> None:
        """A peer without the service keeps the delivery `sent`; one that refuses this request is asked again."""
        if error.reason.code == "context_rejected":
            text = f"{error.reason.text}: what was sent stays without proof"
            self._put_off(due, Reason(code=UNSUPPORTED, text=text), next_at=None)
        elif due.requests + 1 >= self.max_requests:
            self._give_up(due, error.reason)
        else:
            self._put_off(due, error.reason, next_at=utc_now() + self.pause(due.requests + 1))

    def _give_up(self, due: DueCommitment, reason: Reason) -> None:
        log.error("commitment_given_up", delivery=due.delivery.delivery_id, reason=reason.text)
        self._put_off(due, reason, state=DeliveryState.GIVEN_UP, next_at=None)

    def _put_off(
        self,
        due: DueCommitment,
        reason: Reason,
        *,
        state: DeliveryState = DeliveryState.SENT,
        next_at: datetime | None,
    ) -> None:
        if state is DeliveryState.SENT:
            log.warning("not_committed", delivery=due.delivery.delivery_id, code=reason.code, reason=reason.text)
        self.store.not_committed(due.delivery, reason, state=state, now=utc_now(), next_at=next_at)
