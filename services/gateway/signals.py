"""Completion signals, when VIGIE_COMPLETION_SIGNALS is set: MPPS (PS3.4 annex F) and Instance Availability (annex R).

Of both only what completeness needs is kept: UIDs, the status, who sent it and when; nothing of the patient. Success is
said once it is in the database. What it means for a study, `triage.completeness.decide` tells.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import UID, generate_uid
from pynetdicom import evt

from services.backends.headers import is_uid
from services.backends.store import SqlStudyStore, open_store
from services.backends.store.announcements import Changed, State
from services.gateway.storing import SUCCESS, failure
from services.settings import Settings
from services.triage.completeness import Announcer
from services.triage.errors import SchemaRefused, TransientError

log = structlog.get_logger(__name__)

MPPS = UID("1.2.840.10008.3.1.2.3.3")
"""Modality Performed Procedure Step SOP Class (PS3.4 F.7.1)."""

IAN = UID("1.2.840.10008.5.1.4.33")
"""Instance Availability Notification SOP Class (PS3.4 R.3.3)."""

SIGNALS = (MPPS, IAN)

# PS3.7 annex C
_INVALID_VALUE, _PROCESSING_FAILURE, _DUPLICATE, _NO_SUCH_INSTANCE = 0x0106, 0x0110, 0x0111, 0x0112
_INVALID_INSTANCE, _MISSING_ATTRIBUTE = 0x0117, 0x0120
_NO_LONGER_UPDATED = 0xA506  # Error ID of 0x0110 (PS3.4 F.7.2.2.2)

Answer = tuple[int | Dataset, Dataset | None]


class _Refused(Exception):
    """Why a request is answered with a failure."""

    def __init__(self, status: int, comment: str, *, error_id: int | None = None) -> None:
        super().__init__(comment)
        self.answer = failure(status, comment)
        if error_id is not None:
            self.answer.ErrorID = error_id


def signal_handlers(settings: Settings) -> list[tuple[Any, ...]]:
    """What the listener calls for N-CREATE and N-SET."""
    return [(evt.EVT_N_CREATE, _create, [settings]), (evt.EVT_N_SET, _set, [settings])]


def _create(event: evt.Event, settings: Settings) -> Answer:
    """Answer an N-CREATE of either class; a peer that gives no SOP Instance UID is given one (PS3.7 10.1.5.1.4)."""
    request: Any = event.request
    given = request.AffectedSOPInstanceUID
    uid = str(given or generate_uid(prefix=None))
    sender = event.assoc.requestor.ae_title or str(event.assoc.requestor.address)

    def keep(store: SqlStudyStore) -> None:
        if not is_uid(uid):
            raise _Refused(_INVALID_INSTANCE, "the SOP Instance UID is none")
        read = _read_step if request.AffectedSOPClassUID == MPPS else _read_notification
        announcer, studies, state, instances = read(event.attribute_list)
        added = store.announcements.add(
            uid,
            studies,
            announcer=announcer,
            state=state,
            instances=instances,
            received_from=sender,
            now=datetime.now(UTC),
        )
        if not added:
            raise _Refused(_DUPLICATE, "an object of this UID is known already")
        for study in studies:
            log.info(f"{announcer}_received", study_instance_uid=study, state=state, instances=len(instances))

    status, _ = _answer(settings, keep)
    if status != SUCCESS or given is not None:
        return status, None
    assigned = Dataset()
    assigned.AffectedSOPInstanceUID = uid
    return status, assigned


def _set(event: evt.Event, settings: Settings) -> Answer:
    """Answer an N-SET of an MPPS; what it does not name stays as it was."""
    request: Any = event.request
    uid = str(request.RequestedSOPInstanceUID)

    def keep(store: SqlStudyStore) -> None:
        changes = event.modification_list
        state = _step_status(changes) if "PerformedProcedureStepStatus" in changes else State.IN_PROGRESS
        instances = _instances_of_step(changes) if "PerformedSeriesSequence" in changes else None
        changed = store.announcements.change_step(uid, state=state, instances=instances)
        if changed is Changed.UNKNOWN:
            raise _Refused(_NO_SUCH_INSTANCE, "no such procedure step is known")
        if changed is Changed.FINAL:
            text = "a procedure step that has ended is not updated"
            raise _Refused(_PROCESSING_FAILURE, text, error_id=_NO_LONGER_UPDATED)
        log.info("mpps_changed", mpps=uid, state=state)

    return _answer(settings, keep)


def _answer(settings: Settings, keep: Callable[[SqlStudyStore], None]) -> Answer:
    """Success once `keep` is through. The store is opened here: a connection must not be shared over a fork."""
    try:
        store = open_store(settings.store_url())
        try:
            keep(store)
        finally:
            store.close()
    except _Refused as refusal:
        log.warning("signal_refused", status=f"0x{refusal.answer.Status:04X}", reason=str(refusal))
        return refusal.answer, None
    except (TransientError, SchemaRefused) as error:
        log.warning("signal_not_recorded", error=type(error).__name__)
        return failure(_PROCESSING_FAILURE, "cannot be recorded now: send it again"), None
    return SUCCESS, None


def _read_step(attributes: Dataset) -> tuple[Announcer, set[str], State, tuple[str, ...]]:
    """A new MPPS (PS3.4 table F.7.2-1)."""
    steps = _items(attributes, "ScheduledStepAttributesSequence")
    studies = {uid for step in steps if is_uid(uid := str(step.get("StudyInstanceUID", "")))}
    if not studies:
        raise _Refused(_MISSING_ATTRIBUTE, "Scheduled Step Attributes without a Study Instance UID")
    state = _step_status(attributes)
    if state is not State.IN_PROGRESS:
        raise _Refused(_INVALID_VALUE, "a procedure step is created IN PROGRESS")
    return Announcer.MPPS, studies, state, _instances_of_step(attributes)


def _read_notification(attributes: Dataset) -> tuple[Announcer, set[str], State, tuple[str, ...]]:
    """An IAN (PS3.4 table R.3.2-1)."""
    study = str(attributes.get("StudyInstanceUID", ""))
    series = _items(attributes, "ReferencedSeriesSequence")
    references = [item for each in series for item in _items(each, "ReferencedSOPSequence")]
    if not is_uid(study) or not references:
        raise _Refused(_MISSING_ATTRIBUTE, "no Study Instance UID, or no referenced instances")
    online = all(item.get("InstanceAvailability") == "ONLINE" for item in references)
    return Announcer.IAN, {study}, State.ONLINE if online else State.NOT_ONLINE, _uids(references)


def _step_status(attributes: Dataset) -> State:
    status = str(attributes.get("PerformedProcedureStepStatus", ""))
    if status not in (State.IN_PROGRESS, State.COMPLETED, State.DISCONTINUED):
        raise _Refused(_INVALID_VALUE, "Performed Procedure Step Status is no defined term")
    return State(status)


def _instances_of_step(attributes: Dataset) -> tuple[str, ...]:
    """Images and others (PS3.3 table C.4-15)."""
    names = ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")
    series = _items(attributes, "PerformedSeriesSequence")
    return _uids(item for each in series for name in names for item in _items(each, name))


def _uids(references: Iterable[Dataset]) -> tuple[str, ...]:
    uids = (str(item.get("ReferencedSOPInstanceUID", "")) for item in references)
    return tuple(dict.fromkeys(uid for uid in uids if is_uid(uid)))


def _items(attributes: Dataset, keyword: str) -> Sequence[Dataset]:
    return attributes.get(keyword) or ()
