"""Every type of event in the audit trail: what it means, and as what DICOM knows it (PS3.15 A.5.3, CID 400 and 401).

docs/audit.md has the same as a table, and a test compares the two.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.triage.audit import (
    AuditAction,
    AuditActor,
    AuditEvent,
    AuditKind,
    AuditObject,
    AuditObjectKind,
    AuditOutcome,
)

OWN_SCHEME = "99VIGIE"
DCM = "DCM"


class AuditType(StrEnum):
    """Ours; other parts may use words of their own, which then have no meaning here but their own."""

    APPLICATION_START = "application_start"
    APPLICATION_STOP = "application_stop"
    CONFIGURATION_CHANGED = "configuration_changed"
    TRAIL_READ = "trail_read"
    TRAIL_PRUNED = "trail_pruned"
    EVENTS_DROPPED = "events_dropped"
    SIGN_IN = "sign_in"
    SIGN_OUT = "sign_out"
    ACCESS_REFUSED = "access_refused"
    ASSOCIATION_REJECTED = "association_rejected"
    BEGIN_RECEIVING = "begin_receiving"
    RECEIVED = "received"
    WORK_LIST = "work_list"
    SEARCH = "search"
    PACS_ASKED = "pacs_asked"
    STUDY_PAGE = "study_page"
    KEY_IMAGE = "key_image"
    VIEWER = "viewer"
    API = "api"
    RESULT_OBJECT = "result_object"
    RETRIEVE = "retrieve"
    TRAINING = "training"
    WORKITEM = "workitem"
    ANALYSIS = "analysis"
    VERDICT = "verdict"
    VERDICT_DOCUMENT = "verdict_document"
    READING = "reading"
    COMPLETION_ASKED = "completion_asked"
    ANALYSIS_ASKED = "analysis_asked"
    RECALL = "recall"
    RECALL_OF_PERIOD = "recall_of_period"
    MODEL_ADDED = "model_added"
    MODEL_TRUSTED = "model_trusted"
    MODEL_CALIBRATED = "model_calibrated"
    MODEL_REMOVED = "model_removed"
    MODEL_SWITCHED_OFF = "model_switched_off"
    MODEL_SWITCHED_ON = "model_switched_on"
    MODEL_ROLLOUT = "model_rollout"
    STUDY_MOVED = "study_moved"
    PATIENT_DATA = "patient_data"
    SENT = "sent"
    EXPORTED = "exported"
    SEND_AGAIN = "send_again"
    DELIVERY_GIVEN_UP = "delivery_given_up"
    IMAGES_DELETED = "images_deleted"
    RECORD_DELETED = "record_deleted"
    ERASURE = "erasure"
    BACKUP = "backup"
    RESTORE = "restore"
    RESEARCH_EXPORT_BEGUN = "research_export_begun"
    RESEARCH_EXPORT = "research_export"


@dataclass(frozen=True, kw_only=True, slots=True)
class Meaning:
    """code: its Event Type Code of DCM, where there is one, beside ours (99VIGIE). by: which part writes it."""

    kind: AuditKind
    action: AuditAction
    text: str
    by: str
    code: tuple[str, str] | None = None


_KIND, _DO = AuditKind, AuditAction
_RESTRICTED = ("110132", "Use of Restricted Function")
_SOFTWARE = ("110131", "Software Configuration")


def _is(kind: AuditKind, action: AuditAction, text: str, by: str, code: tuple[str, str] | None = None) -> Meaning:
    return Meaning(kind=kind, action=action, text=text, by=by, code=code)


MEANINGS: dict[AuditType, Meaning] = {
    AuditType.APPLICATION_START: _is(
        _KIND.APPLICATION_ACTIVITY, _DO.EXECUTE, "Process started", "every part", ("110120", "Application Start")
    ),
    AuditType.APPLICATION_STOP: _is(
        _KIND.APPLICATION_ACTIVITY, _DO.EXECUTE, "Process stopped", "every part", ("110121", "Application Stop")
    ),
    AuditType.CONFIGURATION_CHANGED: _is(
        _KIND.SECURITY_ALERT, _DO.EXECUTE, "Configuration file changed", "desk", _SOFTWARE
    ),
    AuditType.TRAIL_READ: _is(_KIND.AUDIT_LOG_USED, _DO.READ, "Audit trail read", "desk, vigie audit"),
    AuditType.TRAIL_PRUNED: _is(_KIND.AUDIT_LOG_USED, _DO.DELETE, "Audit trail shortened", "vigie audit prune"),
    AuditType.EVENTS_DROPPED: _is(
        _KIND.SECURITY_ALERT, _DO.EXECUTE, "Events lost", "dispatcher", ("110133", "Audit Recording Stopped")
    ),
    AuditType.SIGN_IN: _is(_KIND.USER_AUTHENTICATION, _DO.EXECUTE, "Signed in", "desk, door", ("110122", "Login")),
    AuditType.SIGN_OUT: _is(_KIND.USER_AUTHENTICATION, _DO.EXECUTE, "Signed out", "desk", ("110123", "Logout")),
    AuditType.ACCESS_REFUSED: _is(_KIND.SECURITY_ALERT, _DO.EXECUTE, "Access refused", "desk, door", _RESTRICTED),
    AuditType.ASSOCIATION_REJECTED: _is(
        _KIND.SECURITY_ALERT, _DO.EXECUTE, "Association rejected", "door", ("110126", "Node Authentication")
    ),
    AuditType.BEGIN_RECEIVING: _is(_KIND.BEGIN_TRANSFERRING, _DO.EXECUTE, "Instances begin to arrive", "door"),
    AuditType.RECEIVED: _is(_KIND.INSTANCES_TRANSFERRED, _DO.CREATE, "Instances received", "door"),
    AuditType.WORK_LIST: _is(_KIND.QUERY, _DO.EXECUTE, "Work list shown", "desk"),
    AuditType.SEARCH: _is(_KIND.QUERY, _DO.EXECUTE, "Search (QIDO-RS, UPS-RS)", "desk"),
    AuditType.PACS_ASKED: _is(_KIND.QUERY, _DO.EXECUTE, "PACS asked about a study", "asking"),
    AuditType.STUDY_PAGE: _is(_KIND.INSTANCES_ACCESSED, _DO.READ, "Page of a study opened", "desk"),
    AuditType.KEY_IMAGE: _is(_KIND.INSTANCES_ACCESSED, _DO.READ, "Key image shown", "desk"),
    AuditType.VIEWER: _is(_KIND.INSTANCES_ACCESSED, _DO.READ, "Study opened in the viewer", "desk"),
    AuditType.API: _is(_KIND.INSTANCES_ACCESSED, _DO.READ, "Study read by the API", "desk"),
    AuditType.RESULT_OBJECT: _is(_KIND.INSTANCES_ACCESSED, _DO.READ, "Result object read by the API", "desk"),
    AuditType.RETRIEVE: _is(_KIND.INSTANCES_ACCESSED, _DO.READ, "Retrieved (WADO-RS), or searched within", "desk"),
    AuditType.TRAINING: _is(_KIND.INSTANCES_ACCESSED, _DO.READ, "Training case opened, without identity", "desk"),
    AuditType.WORKITEM: _is(_KIND.PROCEDURE_RECORD, _DO.UPDATE, "Review read or changed (UPS-RS)", "desk"),
    AuditType.ANALYSIS: _is(_KIND.INSTANCES_ACCESSED, _DO.CREATE, "Result of a model frozen", "worker"),
    AuditType.VERDICT: _is(_KIND.PROCEDURE_RECORD, _DO.UPDATE, "Verdict of a reader", "desk"),
    AuditType.VERDICT_DOCUMENT: _is(
        _KIND.INSTANCES_ACCESSED, _DO.CREATE, "Document of a reader's verdicts frozen", "deliver"
    ),
    AuditType.READING: _is(_KIND.PROCEDURE_RECORD, _DO.UPDATE, "Study taken, given back, read or opened again", "desk"),
    AuditType.COMPLETION_ASKED: _is(_KIND.ORDER_RECORD, _DO.UPDATE, "Completion of a study asked for", "desk"),
    AuditType.ANALYSIS_ASKED: _is(_KIND.ORDER_RECORD, _DO.CREATE, "New analysis asked for", "desk"),
    AuditType.RECALL: _is(_KIND.INSTANCES_ACCESSED, _DO.UPDATE, "Result recalled", "desk, vigie results, dispatcher"),
    AuditType.RECALL_OF_PERIOD: _is(
        _KIND.PROCEDURE_RECORD, _DO.UPDATE, "Recall of a period asked for", "desk, vigie models"
    ),
    AuditType.MODEL_ADDED: _is(_KIND.SECURITY_ALERT, _DO.CREATE, "Model added", "vigie models", _SOFTWARE),
    AuditType.MODEL_TRUSTED: _is(
        _KIND.SECURITY_ALERT, _DO.UPDATE, "Code of a model trusted", "vigie models", _SOFTWARE
    ),
    AuditType.MODEL_CALIBRATED: _is(
        _KIND.SECURITY_ALERT, _DO.UPDATE, "Scores of a model calibrated", "vigie models", _SOFTWARE
    ),
    AuditType.MODEL_REMOVED: _is(_KIND.SECURITY_ALERT, _DO.DELETE, "Model removed", "vigie models", _SOFTWARE),
    AuditType.MODEL_SWITCHED_OFF: _is(
        _KIND.SECURITY_ALERT, _DO.EXECUTE, "Model switched off", "desk, vigie models", _SOFTWARE
    ),
    AuditType.MODEL_SWITCHED_ON: _is(
        _KIND.SECURITY_ALERT, _DO.EXECUTE, "Model switched on", "desk, vigie models", _SOFTWARE
    ),
    AuditType.MODEL_ROLLOUT: _is(
        _KIND.SECURITY_ALERT, _DO.EXECUTE, "Which version of a model looks was changed", "vigie models", _SOFTWARE
    ),
    AuditType.STUDY_MOVED: _is(_KIND.PROCEDURE_RECORD, _DO.UPDATE, "Study moved to a tenant", "vigie tenants"),
    AuditType.PATIENT_DATA: _is(_KIND.PATIENT_RECORD, _DO.UPDATE, "Patient data of a study corrected (ADT)", "adt"),
    AuditType.SENT: _is(_KIND.INSTANCES_TRANSFERRED, _DO.CREATE, "Sent to a destination", "deliver"),
    AuditType.EXPORTED: _is(_KIND.EXPORT, _DO.READ, "Written to a folder, or told to a receiver", "deliver"),
    AuditType.SEND_AGAIN: _is(_KIND.ORDER_RECORD, _DO.UPDATE, "Delivery asked for again", "vigie deliveries"),
    AuditType.DELIVERY_GIVEN_UP: _is(_KIND.ORDER_RECORD, _DO.UPDATE, "Delivery given up", "vigie deliveries"),
    AuditType.IMAGES_DELETED: _is(_KIND.STUDY_DELETED, _DO.DELETE, "Images deleted by retention", "retention"),
    AuditType.RECORD_DELETED: _is(
        _KIND.STUDY_DELETED, _DO.DELETE, "Record of a study deleted by retention", "retention"
    ),
    AuditType.ERASURE: _is(_KIND.STUDY_DELETED, _DO.DELETE, "Study erased on request", "vigie patient"),
    AuditType.BACKUP: _is(_KIND.EXPORT, _DO.READ, "Copy of all that is kept", "vigie backup"),
    AuditType.RESTORE: _is(_KIND.IMPORT, _DO.CREATE, "Put back from a copy", "vigie restore, vigie scrub"),
    AuditType.RESEARCH_EXPORT_BEGUN: _is(
        _KIND.EXPORT, _DO.READ, "Export without identities begins", "vigie export research"
    ),
    AuditType.RESEARCH_EXPORT: _is(_KIND.EXPORT, _DO.READ, "Exported without identities", "vigie export research"),
}


def audited(
    type_: AuditType,
    *actors: AuditActor,
    objects: tuple[AuditObject, ...] = (),
    outcome: AuditOutcome = AuditOutcome.SUCCESS,
    reason: str = "",
    happened_at: datetime | None = None,
    key: str = "",
) -> AuditEvent:
    """An event of one of our types. Raises ValueError: it tells of several studies, and would be found by one alone."""
    if sum(one.kind is AuditObjectKind.STUDY for one in objects) > 1:
        raise ValueError(f"{type_}: an event is about one study")
    meaning = MEANINGS[type_]
    return AuditEvent(
        kind=meaning.kind,
        type=type_,
        action=meaning.action,
        actors=actors,
        objects=objects,
        outcome=outcome,
        reason=reason,
        happened_at=happened_at,
        key=key,
    )
