"""Storage Commitment (PS3.4 annex J): the answer of an archive that was asked whether it keeps some instances."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from services.triage.errors import Reason

FAILED = "commitment_failed"
UNANSWERED = "commitment_unanswered"
UNSUPPORTED = "commitment_unsupported"
REFUSED = "commitment_refused"

# Failure Reason (0008,1197), PS3.3 C.14.1.1
_MEANINGS = {
    0x0110: "processing failure",
    0x0112: "no such object instance",
    0x0119: "class or instance conflict",
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

    def shortfall(self, asked: Collection[str]) -> Reason:
        """What is said of those that were asked for and are not committed; silence about one is no promise either."""
        missing = [uid for uid in asked if uid not in self.committed]
        counted = Counter(self.failed.get(uid) for uid in missing)
        told = "; ".join(f"{_meaning(code)} ({count})" for code, count in counted.items())
        return Reason(code=FAILED, text=f"{len(missing)} of {len(asked)} objects are not committed: {told}")


def _meaning(failure_reason: int | None) -> str:
    if failure_reason is None:
        return "not told of"
    return f"0x{failure_reason:04X} {_MEANINGS.get(failure_reason, '')}".rstrip()
