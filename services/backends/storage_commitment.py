"""Storage Commitment Push Model as SCU (PS3.4 annex J): what is asked, and how a peer's report is answered."""

from collections.abc import Callable, Sequence
from typing import Any

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import evt

from services.triage.commitment import CommitmentReport
from services.triage.errors import SchemaRefused, TransientError

log = structlog.get_logger(__name__)

STORAGE_COMMITMENT = UID("1.2.840.10008.1.20.1")
"""Storage Commitment Push Model SOP Class (PS3.4 J.3.5)."""

WELL_KNOWN_INSTANCE = UID("1.2.840.10008.1.20.1.1")
"""Its one SOP Instance."""

REQUEST = 1
"""Action Type ID (PS3.4 J.3.2)."""

_EVENTS = (1, 2)  # all committed; failures exist (PS3.4 J.3.3)
_SUCCESS, _PROCESSING_FAILURE = 0x0000, 0x0110
# PS3.7 annex C.4
_NO_SUCH_INSTANCE, _NO_SUCH_EVENT_TYPE, _INVALID_ARGUMENT = 0x0112, 0x0113, 0x0115

Record = Callable[[CommitmentReport], bool]


def action_information(transaction_uid: str, objects: Sequence[tuple[str, str]]) -> Dataset:
    """A request for these (SOP Class UID, SOP Instance UID), PS3.4 table J.3-1."""
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = [_reference(*each) for each in objects]
    return information


def answer_report(event: evt.Event, record: Record) -> tuple[int | Dataset, None]:
    """Answer an N-EVENT-REPORT: success only once `record` has kept it; else the peer may repeat it.

    `record` answers False for a transaction that nobody asked for, and raises TransientError or
    SchemaRefused while it cannot.
    """
    request: Any = event.request
    if request.AffectedSOPInstanceUID != WELL_KNOWN_INSTANCE:
        return _failure(_NO_SUCH_INSTANCE, "only the well-known instance of storage commitment")
    if event.event_type not in _EVENTS:
        return _failure(_NO_SUCH_EVENT_TYPE, "only 1 and 2")
    report = _read(event.event_information)
    try:
        known = record(report)
    except (TransientError, SchemaRefused) as error:
        log.warning("commitment_not_recorded", transaction=report.transaction_uid, error=type(error).__name__)
        return _failure(_PROCESSING_FAILURE, "cannot be recorded now: report it again")
    counts = {"committed": len(report.committed), "failed": len(report.failed)}
    if not known:
        log.warning("commitment_of_an_unknown_transaction", transaction=report.transaction_uid, **counts)
        return _failure(_INVALID_ARGUMENT, "a transaction that was not asked for here")
    log.info("commitment_reported", transaction=report.transaction_uid, **counts)
    return _SUCCESS, None


def _read(information: Dataset) -> CommitmentReport:
    """PS3.4 table J.3-2. What is missing is read as nothing: no transaction, no promise."""
    failed = {
        str(item.get("ReferencedSOPInstanceUID", "")): int(item.get("FailureReason", _PROCESSING_FAILURE))
        for item in information.get("FailedSOPSequence") or ()
    }
    named = {str(item.get("ReferencedSOPInstanceUID", "")) for item in information.get("ReferencedSOPSequence") or ()}
    transaction_uid = str(information.get("TransactionUID", ""))
    return CommitmentReport(transaction_uid=transaction_uid, committed=frozenset(named - set(failed)), failed=failed)


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return item


def _failure(status: int, comment: str) -> tuple[Dataset, None]:
    answer = Dataset()
    answer.Status = status
    answer.ErrorComment = comment[:64]  # LO
    return answer, None
