"""A record of the audit trail as a DICOM Audit Message (PS3.15 A.5.1, the XML that RFC 3881 began).

No patient's identity is in it: the patient is a keyed digest. docs/audit.md says how
that departs from A.5.3, and why.
"""

import base64
import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element, SubElement

from services.backends.store.audit import event_of
from services.triage.audit import (
    AuditActor,
    AuditEvent,
    AuditKind,
    AuditObject,
    AuditObjectKind,
    AuditOutcome,
    AuditRecord,
)
from services.triage.audit_types import DCM, MEANINGS, OWN_SCHEME, AuditType

_RFC3881 = "RFC-3881"
_EVENT_WORDS = {
    AuditKind.APPLICATION_ACTIVITY: "Application Activity",
    AuditKind.AUDIT_LOG_USED: "Audit Log Used",
    AuditKind.BEGIN_TRANSFERRING: "Begin Transferring DICOM Instances",
    AuditKind.INSTANCES_ACCESSED: "DICOM Instances Accessed",
    AuditKind.INSTANCES_TRANSFERRED: "DICOM Instances Transferred",
    AuditKind.STUDY_DELETED: "DICOM Study Deleted",
    AuditKind.EXPORT: "Export",
    AuditKind.IMPORT: "Import",
    AuditKind.NETWORK_ENTRY: "Network Entry",
    AuditKind.ORDER_RECORD: "Order Record",
    AuditKind.PATIENT_RECORD: "Patient Record",
    AuditKind.PROCEDURE_RECORD: "Procedure Record",
    AuditKind.QUERY: "Query",
    AuditKind.SECURITY_ALERT: "Security Alert",
    AuditKind.USER_AUTHENTICATION: "User Authentication",
}
_MOVES = frozenset(
    {AuditKind.BEGIN_TRANSFERRING, AuditKind.INSTANCES_TRANSFERRED, AuditKind.EXPORT, AuditKind.IMPORT, AuditKind.QUERY}
)
# PS3.16 CID 402: the first actor sends, asks, or starts; the second is what it is done to
_SOURCE, _DESTINATION = ("110153", "Source Role ID"), ("110152", "Destination Role ID")
_APPLICATION, _LAUNCHER = ("110150", "Application"), ("110151", "Application Launcher")
_APPLICATION_SERVER = "4"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Who reports: AuditSourceID, and AuditEnterpriseSiteID where there is one."""

    source_id: str
    site_id: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Form:
    """How a kind of thing is told: type code and role (A.5.1.2), the code of its kind of id (CID 404, RFC 3881)."""

    type_code: str
    role: str
    id_type: tuple[str, str, str]


_STUDY_ID, _URI = ("110180", DCM, "Study Instance UID"), ("12", _RFC3881, "URI")
_FORMS = {
    AuditObjectKind.STUDY: _Form(type_code="2", role="3", id_type=_STUDY_ID),
    AuditObjectKind.PATIENT: _Form(type_code="1", role="1", id_type=("2", _RFC3881, "Patient Number")),
    AuditObjectKind.INSTANCE: _Form(type_code="2", role="3", id_type=("110181", DCM, "SOP Class UID")),
    AuditObjectKind.ADDRESS: _Form(type_code="2", role="13", id_type=_URI),
    AuditObjectKind.SETTINGS: _Form(type_code="2", role="13", id_type=_URI),
    AuditObjectKind.FILE: _Form(type_code="2", role="13", id_type=_URI),
    AuditObjectKind.RECORD: _Form(type_code="2", role="13", id_type=_URI),
    AuditObjectKind.QUERY: _Form(type_code="2", role="24", id_type=("query", OWN_SCHEME, "Query")),
    AuditObjectKind.RESULT: _Form(type_code="2", role="3", id_type=("result", OWN_SCHEME, "Result of a model")),
    AuditObjectKind.MODEL: _Form(type_code="2", role="26", id_type=("model", OWN_SCHEME, "Model")),
    AuditObjectKind.VERDICT: _Form(type_code="2", role="3", id_type=("verdict", OWN_SCHEME, "Verdict")),
    AuditObjectKind.JOB: _Form(type_code="2", role="20", id_type=("job", OWN_SCHEME, "Task")),
    AuditObjectKind.CASE: _Form(type_code="2", role="3", id_type=("case", OWN_SCHEME, "Training case")),
}


def audit_message(record: AuditRecord, source: Source) -> bytes:
    """The message, UTF-8 with its declaration. Raises ValueError: the record's text is no event."""
    event = event_of(record.document)
    root = Element("AuditMessage")
    _identification(root, event, record.recorded_at)
    for number, actor in enumerate(event.actors):
        _participant(root, event, actor, number)
    told = {"AuditEnterpriseSiteID": source.site_id} if source.site_id else {}
    reported = SubElement(root, "AuditSourceIdentification", {**told, "AuditSourceID": source.source_id})
    SubElement(reported, "AuditSourceTypeCode", {"csd-code": _APPLICATION_SERVER})
    for one in _told(event):
        _object(root, event, one)
    _object(root, event, _record_itself(record))
    # no line feed: syslog servers keep a message as a line
    return b'<?xml version="1.0" encoding="UTF-8"?>' + bytes(ET.tostring(root, "utf-8", xml_declaration=False))


def _identification(root: Element, event: AuditEvent, recorded_at: datetime) -> None:
    happened_at = event.happened_at or recorded_at
    told = {
        "EventActionCode": event.action.value,
        "EventDateTime": happened_at.isoformat(),
        "EventOutcomeIndicator": str(event.outcome.value),
    }
    found = SubElement(root, "EventIdentification", told)
    _code(found, "EventID", event.kind.value, DCM, _EVENT_WORDS[event.kind])
    meaning = MEANINGS.get(AuditType(event.type)) if event.type in set(AuditType) else None
    if meaning is not None and meaning.code is not None:
        _code(found, "EventTypeCode", meaning.code[0], DCM, meaning.code[1])
    _code(found, "EventTypeCode", event.type, OWN_SCHEME, meaning.text if meaning else event.type)
    if event.outcome is not AuditOutcome.SUCCESS or event.reason:
        SubElement(found, "EventOutcomeDescription").text = _clean(event.reason) or "failed"


def _participant(root: Element, event: AuditEvent, actor: AuditActor, number: int) -> None:
    told = {"UserID": _clean(actor.name), "UserIsRequestor": str(actor.requests).lower()}
    if actor.address:
        told |= {
            "NetworkAccessPointID": _clean(actor.address),
            "NetworkAccessPointTypeCode": "2" if _is_ip(actor.address) else "1",
        }
    participant = SubElement(root, "ActiveParticipant", told)
    if (role := _role(event, number)) is not None:
        _code(participant, "RoleIDCode", role[0], DCM, role[1])


def _role(event: AuditEvent, number: int) -> tuple[str, str] | None:
    if event.kind is AuditKind.APPLICATION_ACTIVITY:
        return _LAUNCHER if number else _APPLICATION
    if event.kind in _MOVES:
        return _DESTINATION if number else _SOURCE
    return None


def _told(event: AuditEvent) -> Iterator[AuditObject]:
    """Instances are told with their study, if there is one."""
    for one in event.objects:
        if one.kind is not AuditObjectKind.INSTANCE or event.first(AuditObjectKind.STUDY) is None:
            yield one


def _record_itself(record: AuditRecord) -> AuditObject:
    """Number and digest in the chain: whoever has the messages can tell what is missing or was changed here."""
    return AuditObject(
        kind=AuditObjectKind.RECORD, object_id=f"audit-record:{record.sequence}", details={"digest": record.digest}
    )


def _object(root: Element, event: AuditEvent, one: AuditObject) -> None:
    form = _FORMS[one.kind]
    told = {
        "ParticipantObjectID": _clean(one.object_id),
        "ParticipantObjectTypeCode": form.type_code,
        "ParticipantObjectTypeCodeRole": form.role,
    }
    found = SubElement(root, "ParticipantObjectIdentification", told)
    _code(found, "ParticipantObjectIDTypeCode", *form.id_type)
    if one.kind is AuditObjectKind.QUERY:
        query = f"{one.details.get('keys', '')}\n{one.details.get('digest', '')}"
        SubElement(found, "ParticipantObjectQuery").text = _base64(query)
    else:
        SubElement(found, "ParticipantObjectName").text = _name(one)
    instances = []
    if one.kind is AuditObjectKind.STUDY:
        instances = [each for each in event.objects if each.kind is AuditObjectKind.INSTANCE]
    details = [
        *one.details.items(),
        *((f"sha256 {each.object_id}", each.details.get("sha256", "")) for each in instances),
    ]
    for name, value in details:
        if value:
            SubElement(found, "ParticipantObjectDetail", {"type": _clean(name), "value": _base64(value)})
    if one.kind is AuditObjectKind.STUDY:
        _description(found, one, instances)


def _description(found: Element, study: AuditObject, instances: list[AuditObject]) -> None:
    """The SOP classes of what was moved or made, with their instances where they are few enough to be named."""
    counts = dict(each.split("=") for each in study.details.get("sop_classes", "").split())
    named: dict[str, list[str]] = {}
    for each in instances:
        named.setdefault(each.details.get("sop_class", ""), []).append(each.object_id)
    if not counts and not named:
        return
    description = SubElement(found, "ParticipantObjectDescription")
    for sop_class, count in counts.items():
        SubElement(description, "SOPClass", {"UID": sop_class, "NumberOfInstances": count})
    for sop_class, uids in named.items():
        told = {"UID": sop_class} if sop_class else {}
        group = SubElement(description, "SOPClass", {**told, "NumberOfInstances": str(len(uids))})
        for uid in uids:
            SubElement(group, "Instance", {"UID": _clean(uid)})


def _name(one: AuditObject) -> str:
    """A patient's own name is never told."""
    return "not told" if one.kind is AuditObjectKind.PATIENT else _clean(one.object_id)


def _code(parent: Element, name: str, value: str, scheme: str, meaning: str) -> None:
    told = {"csd-code": _clean(value), "codeSystemName": scheme, "originalText": _clean(meaning)}
    SubElement(parent, name, told)


def _clean(text: str) -> str:
    """Without what XML 1.0 has no place for."""
    return _NOT_XML.sub("?", text)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "replace")).decode()


def _is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True
