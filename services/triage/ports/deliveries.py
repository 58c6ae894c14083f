"""What is due to go out, as the store tells it."""

from dataclasses import dataclass
from datetime import datetime

from services.triage.errors import Reason
from services.triage.result import DeliveryState, Destination, ObjectKind


@dataclass(frozen=True, kw_only=True, slots=True)
class DueDelivery:
    """One result that this process may send to one destination now, and nobody else while the claim lasts.

    objects: (SOP Class UID, SOP Instance UID, sha256) each, of those that the destination takes and has not committed,
    nor taken in a try that ended halfway.
    attempt: counts this try. claim: who holds it. traceparent: where the result was frozen.
    """

    delivery_id: str
    destination: Destination
    attempt: int
    objects: tuple[tuple[str, str, str], ...]
    claim: str
    traceparent: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DueCommitment:
    """One delivery that was sent, whose Storage Commitment this process may ask for now.

    requests: how often it was asked for. failed: what the last answer said, None without one.
    """

    delivery: DueDelivery
    requests: int
    failed: Reason | None


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryLine:
    """One delivery as an operator sees it. attempt: failed tries; `reason`: of the last.

    objects: what goes, nothing in a notification. note: it takes a result back. verdicts: it is what a reader answered.
    """

    delivery_id: str
    study_instance_uid: str
    destination_name: str
    objects: tuple[ObjectKind, ...]
    note: bool
    state: DeliveryState
    attempt: int
    created_at: datetime
    reason: Reason | None
    verdicts: bool = False
