"""Storage Commitment (PS3.4 annex J): what an archive answers that we asked, and what we are asked by others."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from services.triage.errors import Reason

FAILED = "commitment_failed"
UNANSWERED = "commitment_unanswered"
UNSUPPORTED = "commitment_unsupported"
REFUSED = "commitment_refused"
REPORT_REFUSED = "report_refused"

# Failure Reason (0008,1197), PS3.3 C.14.1.1
PROCESSING_FAILURE = 0x0110
NO_SUCH_INSTANCE = 0x0112
CLASS_INSTANCE_CONFLICT = 0x0119
_MEANINGS = {
    PROCESSING_FAILURE: "processing failure",
    NO_SUCH_INSTANCE: "no such object instance",
    CLASS_INSTANCE_CONFLICT: "class or instance conflict",
    0x0122: "SOP class not supported",
    0x0131: "duplicate transaction UID",
    0x0213: "resource limitation",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class CommitmentReport:
    """What an N-EVENT-REPORT says (PS3.4 J.3.3): SOP Instance UIDs committed, and failed with their Failure Reason."""

    transaction_uid: str
    committed: frozenset[str] = frozenset()
    failed: Mapping[str, int] = field(default_factory=dict)

    def shortfall(self, asked: Collection[str], kinds: Mapping[str, str] | None = None) -> Reason:
        """What is said of those that were asked for and are not committed; silence about one is no promise either.

        kinds: by SOP Instance UID, what people call them; without it they are counted.
        """
        missing = [uid for uid in asked if uid not in self.committed]
        by_code: dict[int | None, list[str]] = {}
        for uid in missing:
            by_code.setdefault(self.failed.get(uid), []).append(uid)
        told = "; ".join(f"{_meaning(code)} ({_named(uids, kinds)})" for code, uids in by_code.items())
        return Reason(code=FAILED, text=f"{len(missing)} of {len(asked)} objects are not committed: {told}")


def _named(uids: Collection[str], kinds: Mapping[str, str] | None) -> str:
    return ", ".join(dict.fromkeys(kinds[uid] for uid in uids)) if kinds else str(len(uids))


def _meaning(failure_reason: int | None) -> str:
    if failure_reason is None:
        return "not told of"
    return f"0x{failure_reason:04X} {_MEANINGS.get(failure_reason, '')}".rstrip()


FINAL = frozenset({CLASS_INSTANCE_CONFLICT, 0x0122})
"""What an archive will answer again; what else it does not commit today may still be on its way to it."""


class RequestState(StrEnum):
    """The one axis of a request for commitment that was made to us.

    asked: some instance is undecided. decided: all are, the requester is owed the report. reported: it has taken it.
    """

    ASKED = "asked"
    DECIDED = "decided"
    REPORTED = "reported"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, kw_only=True, slots=True)
class CommitmentRequest:
    """What an AE asks of us by N-ACTION (PS3.4 J.3.2): whether (SOP Class UID, SOP Instance UID) each are kept."""

    transaction_uid: str
    calling_ae_title: str
    objects: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """One instance that is asked for and undecided.

    held: SOP Class UID and digests of what we received under its UID, None for nothing. refused: the Failure Reason of
    the archive when it was asked last.
    """

    sop_class_uid: str
    sop_instance_uid: str
    held: tuple[str, tuple[str, ...]] | None = None
    refused: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DueRequest:
    """A request that this process may go on with now, and nobody else while the claim lasts.

    wanted: what is undecided. decided: (SOP Class UID, SOP Instance UID, Failure Reason or None) each; None: committed.
    attempt: counts this try, from 1 again once all is decided. inquiries: how often the archive was asked.
    """

    transaction_uid: str
    calling_ae_title: str
    state: RequestState
    asked_at: datetime
    decided_at: datetime | None
    attempt: int
    inquiries: int
    wanted: tuple[Wanted, ...]
    decided: tuple[tuple[str, str, int | None], ...]
    claim: str

    def count(self) -> str:
        """How many are committed, for people."""
        committed = sum(reason is None for _, _, reason in self.decided)
        return f"{committed} of {len(self.decided) + len(self.wanted)} instances committed"


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestLine:
    """One request as an operator sees it. attempt: tries of what its state waits for; `reason`: of the last failure."""

    transaction_uid: str
    calling_ae_title: str
    state: RequestState
    asked_at: datetime
    instances: int
    committed: int
    failed: int
    attempt: int
    reason: Reason | None
