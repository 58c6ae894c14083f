"""Looks of a version that is tried out."""

from datetime import datetime, timedelta
from typing import Protocol

from services.triage.errors import Reason
from services.triage.job import Lease
from services.triage.shadow import ShadowResult, ShadowTask


class ShadowRuns(Protocol):
    """Looks of a version that is tried out, at what a model has answered; no other part of the store knows of them.

    Every method is one transaction. Raises StoreUnavailable; with a lease that was overtaken, LeaseLost.
    """

    def lease(self, *, worker: str, now: datetime, duration: timedelta) -> tuple[Lease, ShadowTask] | None:
        """Take the run that is owed longest. None: none is, or a job is due, which goes first.

        Each lease is an attempt; a run that has had its last is given up (`worker_died`).
        """

    def must_yield(self, *, now: datetime) -> bool:
        """Whether a job is due, so that a run in work is to be given back."""

    def renew(self, lease: Lease, *, now: datetime, duration: timedelta) -> Lease:
        """Extend a lease."""

    def give_back(self, lease: Lease, *, until: datetime | None = None) -> None:
        """Owe the run again, not before `until`; without, it was interrupted, and the attempt does not count."""

    def keep(self, lease: Lease, said: ShadowResult, *, now: datetime) -> None:
        """Keep what the shadow says, once."""

    def fail(self, lease: Lease, reason: Reason, *, now: datetime) -> None:
        """Give the run up."""
