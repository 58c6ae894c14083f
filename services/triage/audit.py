"""What is written down of who did what, so that it can be answered for: events of the audit trail (PS3.15 A.5).

Article 12 of the EU's AI Act (2024/1689) asks for it, too: which input, which model and which reader a result had.
An event carries no name, birth date or ID of a patient: who is meant is found by the study, and by a keyed digest that
the trail adds. What types of events there are: `services.triage.audit_types`.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum


class AuditKind(StrEnum):
    """Event ID: the code values of DCM in PS3.16 CID 400."""

    APPLICATION_ACTIVITY = "110100"
    AUDIT_LOG_USED = "110101"
    BEGIN_TRANSFERRING = "110102"
    INSTANCES_ACCESSED = "110103"
    INSTANCES_TRANSFERRED = "110104"
    STUDY_DELETED = "110105"
    EXPORT = "110106"
    IMPORT = "110107"
    NETWORK_ENTRY = "110108"
    ORDER_RECORD = "110109"
    PATIENT_RECORD = "110110"
    PROCEDURE_RECORD = "110111"
    QUERY = "110112"
    SECURITY_ALERT = "110113"
    USER_AUTHENTICATION = "110114"


class AuditAction(StrEnum):
    """EventActionCode (PS3.15 table A.5.2-1)."""

    CREATE = "C"
    READ = "R"
    UPDATE = "U"
    DELETE = "D"
    EXECUTE = "E"


class AuditOutcome(IntEnum):
    """EventOutcomeIndicator (PS3.15 table A.5.2-1)."""

    SUCCESS = 0
    MINOR_FAILURE = 4
    SERIOUS_FAILURE = 8
    MAJOR_FAILURE = 12


class AuditObjectKind(StrEnum):
    """What a thing is that an event is about."""

    STUDY = "study"
    PATIENT = "patient"
    INSTANCE = "instance"
    RESULT = "result"
    JOB = "job"
    MODEL = "model"
    VERDICT = "verdict"
    SETTINGS = "settings"
    FILE = "file"
    ADDRESS = "address"
    QUERY = "query"
    CASE = "case"
    RECORD = "record"


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditActor:
    """A person by their name here, a machine by its name or AE title, a process of ours by its part.

    address: of the network, as far as it is known. requests: whether it is they who wanted it.
    """

    name: str
    address: str = ""
    requests: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditObject:
    """A thing that an event is about: its UID, id, path or name. details: digests, versions, counts; no patient's."""

    kind: AuditObjectKind
    object_id: str
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditEvent:
    """type: what it was in a word of ours (docs/audit.md), such as `sign_in` or `verdict`; reason: why it failed.

    happened_at: where that is not the moment of recording. key: of two events with one key the trail takes the first.
    objects: one study at most, whose patient's event it is: what is done with several is an event for each.
    """

    kind: AuditKind
    type: str
    action: AuditAction
    actors: tuple[AuditActor, ...]
    objects: tuple[AuditObject, ...] = ()
    outcome: AuditOutcome = AuditOutcome.SUCCESS
    reason: str = ""
    happened_at: datetime | None = None
    key: str = ""

    def first(self, kind: AuditObjectKind) -> str | None:
        """The id of its first object of a kind."""
        return next((one.object_id for one in self.objects if one.kind is kind), None)

    @property
    def asked_by(self) -> str | None:
        """The name of who wanted it."""
        return next((one.name for one in self.actors if one.requests), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditRecord:
    """An event as it stands in the trail.

    sequence: counts from 1, without a gap. digest: SHA-256 (hexadecimal) of the previous record's digest and of
    `document`, the event as JSON, from which nothing can be taken, and into which nothing put, without breaking those
    that follow.
    """

    sequence: int
    recorded_at: datetime
    document: str
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditAnchor:
    """That at a time the record of this sequence number had this digest: kept elsewhere, it shows what is missing."""

    sequence: int
    digest: str
    at: datetime


def digest_over(digests: Iterable[str]) -> str:
    """One SHA-256 (hexadecimal) over many, in whatever order they come: of them sorted, a line each."""
    return hashlib.sha256("".join(f"{one}\n" for one in sorted(digests)).encode()).hexdigest()


def key_of(*parts: str) -> str:
    """A key of an event that is the same for the same parts, and tells none of them that cannot be guessed."""
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
