"""Storage Commitment (PS3.4 annex J), both ways: what others ask of us, and what we ask of an archive."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from services.triage.commitment import CommitmentReport, CommitmentRequest, DueRequest, RequestLine, RequestState
from services.triage.errors import Reason
from services.triage.tenant import NO_TENANT


class CommitmentRequests(Protocol):
    """What others ask of us by Storage Commitment, until they have the report. Each method is one transaction.

    An instance is decided when it failed for good, or when the archive has committed it to us
    (`StudyStore.commitment_reported`); with the last one the request is. Raises StoreUnavailable.
    """

    def enter(self, request: CommitmentRequest, *, now: datetime) -> bool:
        """Keep a request. False, and nothing changes: its Transaction UID was used before."""

    def claim(
        self, calling_ae_title: str, *, now: datetime, duration: timedelta, tenant: str = NO_TENANT
    ) -> DueRequest | None:
        """Take the oldest request of this AE with which something is due and that nobody has. None: none is due.

        A claim that ran out is free again. What others than the AE's tenant have is not held.
        """

    def renew(self, due: DueRequest, *, now: datetime, duration: timedelta) -> None:
        """Keep a claim for longer, or with no duration let go; one that another process has is left to it."""

    def decide(self, due: DueRequest, failed: Mapping[tuple[str, str], int], *, now: datetime) -> None:
        """These (SOP Class UID, SOP Instance UID) fail, for this Failure Reason. Nothing changes without the claim."""

    def archive_asked(
        self, due: DueRequest, transaction_uid: str, *, now: datetime, again_at: datetime, retry_at: datetime
    ) -> None:
        """Keep a transaction of ours for all that is undecided, before the archive hears of it.

        Without an answer the request is due again at `again_at`; if the archive does not commit all, at `retry_at`.
        Raises LeaseLost when the claim is another's now.
        """

    def put_off(self, due: DueRequest, reason: Reason | None, *, next_at: datetime) -> None:
        """Nothing could be done now; a `reason` makes it a failed try. Nothing changes without the claim."""

    def reported(self, due: DueRequest, *, now: datetime) -> None:
        """The requester has taken the report."""

    def give_up(self, due: DueRequest, reason: Reason, *, now: datetime) -> None:
        """The requester is told no more. Nothing changes without the claim."""

    def lines(
        self, states: Collection[RequestState], *, calling_ae_title: str | None = None, limit: int = 1000
    ) -> list[RequestLine]:
        """Requests in these states, oldest first."""

    def report_again(self, transaction_uids: Sequence[str], *, actor: str, now: datetime) -> list[str]:
        """Report once more what was given up, with a line in the studies' histories. Answers which will be."""

    def awaited(self, sop_instance_uids: Collection[str]) -> set[str]:
        """Which of these someone waits for a decision on: whatever deletes instances must keep them until then."""


class CommitmentReporter(Protocol):
    """Tells one AE what became of its request for Storage Commitment."""

    def report(self, due: DueRequest) -> None:
        """Report what is decided (N-EVENT-REPORT, PS3.4 J.3.3); returns when the AE has taken it.

        Raises DestinationUnavailable (also: it cannot record it now), DestinationRefused: context_rejected (it does not
        have the service), report_refused (its status says that it will not take it).
        """


class CommitmentUser(Protocol):
    """Asks one destination to promise that it keeps what it took (Storage Commitment, PS3.4 annex J)."""

    def ask(
        self,
        objects: Sequence[tuple[str, str]],
        *,
        begin: Callable[[], str],
        record: Callable[[CommitmentReport], bool],
    ) -> None:
        """Ask for (SOP Class UID, SOP Instance UID) each, in one transaction.

        `begin` keeps the transaction and answers its UID; it is called once the destination is there, and before that
        is asked. `record` keeps an answer that comes at once (`StudyStore.commitment_reported`); most come later, to
        the door. Raises DestinationUnavailable, DestinationRefused: context_rejected (it does not have the service),
        commitment_refused; and what `begin` raises.
        """
