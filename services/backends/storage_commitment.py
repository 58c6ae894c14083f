"""Storage Commitment Push Model (PS3.4 annex J): what is asked and reported, and how a peer's message is answered."""

import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import evt

from services.triage.commitment import CommitmentReport, CommitmentRequest
from services.triage.errors import SchemaRefused, TransientError

log = structlog.get_logger(__name__)

STORAGE_COMMITMENT = UID("1.2.840.10008.1.20.1")
"""Storage Commitment Push Model SOP Class (PS3.4 J.3.5)."""

WELL_KNOWN_INSTANCE = UID("1.2.840.10008.1.20.1.1")
"""Its one SOP Instance."""

REQUEST = 1
"""Action Type ID (PS3.4 J.3.2)."""

ALL_COMMITTED, FAILURES_EXIST = 1, 2
"""Event Type IDs (PS3.4 J.3.3)."""

_SUCCESS, _PROCESSING_FAILURE = 0x0000, 0x0110
# PS3.7 annex C.4
_NO_SUCH_INSTANCE, _NO_SUCH_EVENT_TYPE, _INVALID_ARGUMENT = 0x0112, 0x0113, 0x0115
_NO_SUCH_ACTION_TYPE, _NOT_AUTHORISED = 0x0123, 0x0124
_DUPLICATE_TRANSACTION_UID = 0x0131  # a Failure Reason (PS3.3 C.14.1.1), here of the request as a whole
_UID = re.compile(r"[0-9.]{1,64}")

Record = Callable[[CommitmentReport], bool]
Enter = Callable[[CommitmentRequest], bool]


def action_information(transaction_uid: str, objects: Sequence[tuple[str, str]]) -> Dataset:
    """A request for these (SOP Class UID, SOP Instance UID), PS3.4 table J.3-1."""
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = [_reference(*each) for each in objects]
    return information


def event_information(transaction_uid: str, decided: Sequence[tuple[str, str, int | None]]) -> Dataset:
    """A report on (SOP Class UID, SOP Instance UID, Failure Reason or None for committed), PS3.4 table J.3-2."""
    information = Dataset()
    information.TransactionUID = transaction_uid
    committed = [_reference(cls, uid) for cls, uid, reason in decided if reason is None]
    failed = [_reference(cls, uid, reason) for cls, uid, reason in decided if reason is not None]
    if committed:
        information.ReferencedSOPSequence = committed
    if failed:
        information.FailedSOPSequence = failed
    return information


def answer_request(event: evt.Event, enter: Enter | None) -> tuple[int | Dataset, None]:
    """Answer an N-ACTION (PS3.4 J.3.2): success only once `enter` has kept the request.

    `enter` answers False for a Transaction UID that was used before, and raises TransientError or SchemaRefused while
    it cannot. None: the peer may not ask.
    """
    request: Any = event.request
    if request.RequestedSOPInstanceUID != WELL_KNOWN_INSTANCE:
        return _failure(_NO_SUCH_INSTANCE, "only the well-known instance of storage commitment")
    if event.action_type != REQUEST:
        return _failure(_NO_SUCH_ACTION_TYPE, "only 1")
    calling_ae_title = str(event.assoc.requestor.ae_title)
    if enter is None:
        log.warning("commitment_not_offered", calling_ae_title=calling_ae_title)
        return _failure(_NOT_AUTHORISED, "storage commitment is not offered to this AE")
    asked = _asked(event.action_information, calling_ae_title)
    if asked is None:
        return _failure(_INVALID_ARGUMENT, "a transaction with SOP classes and instances is needed")
    try:
        new = enter(asked)
    except (TransientError, SchemaRefused) as error:
        log.warning("commitment_request_not_kept", transaction=asked.transaction_uid, error=type(error).__name__)
        return _failure(_PROCESSING_FAILURE, "cannot be kept now: ask again")
    told = {"transaction": asked.transaction_uid, "calling_ae_title": calling_ae_title}
    if not new:
        log.warning("commitment_request_repeated", **told)
        return _failure(_DUPLICATE_TRANSACTION_UID, "this Transaction UID was used before")
    log.info("commitment_requested", instances=len(asked.objects), **told)
    return _SUCCESS, None


def answer_report(event: evt.Event, record: Record) -> tuple[int | Dataset, None]:
    """Answer an N-EVENT-REPORT: success only once `record` has kept it; else the peer may repeat it.

    `record` answers False for a transaction that nobody asked for, and raises TransientError or
    SchemaRefused while it cannot.
    """
    request: Any = event.request
    if request.AffectedSOPInstanceUID != WELL_KNOWN_INSTANCE:
        return _failure(_NO_SUCH_INSTANCE, "only the well-known instance of storage commitment")
    if event.event_type not in (ALL_COMMITTED, FAILURES_EXIST):
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


def _asked(information: Dataset, calling_ae_title: str) -> CommitmentRequest | None:
    """PS3.4 table J.3-1; None where something is missing or is no UID."""
    objects = tuple(
        (str(item.get("ReferencedSOPClassUID", "")), str(item.get("ReferencedSOPInstanceUID", "")))
        for item in information.get("ReferencedSOPSequence") or ()
    )
    transaction_uid = str(information.get("TransactionUID", ""))
    if not objects or not all(map(_UID.fullmatch, (transaction_uid, *itertools.chain(*objects)))):
        return None
    return CommitmentRequest(transaction_uid=transaction_uid, calling_ae_title=calling_ae_title, objects=objects)


def _reference(sop_class_uid: str, sop_instance_uid: str, failure_reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    if failure_reason is not None:
        item.FailureReason = failure_reason
    return item


def _failure(status: int, comment: str) -> tuple[Dataset, None]:
    answer = Dataset()
    answer.Status = status
    answer.ErrorComment = comment[:64]  # LO
    return answer, None
