"""The audit trail: events in one chain, in which each record's digest covers the one before.

`SqlStudyStore.audit` is one. Records are only ever added, triggers refuse all else (revision 0022); docs/audit.md tells
how the chain is verified, and shortened at its beginning.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Collection, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import RootModel
from sqlalchemy import Connection, Engine

from services.backends.store.columns import storable
from services.backends.store.engine import audit_held, insert_new, reading, writing
from services.backends.store.tables import audit_pruned, audit_record, kept_secret, result, result_object, study
from services.triage.audit import AuditActor, AuditAnchor, AuditEvent, AuditObject, AuditObjectKind, AuditRecord

BEFORE_THE_FIRST = "0" * 64
_PAGE = 1000
_SECRET = "audit"  # noqa: S105 - its name

asked_from: ContextVar[str] = ContextVar("asked_from", default="")
"""The network address of whoever asked for what is done now, where that is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditQuery:
    """What records are looked for; what is left out is not asked. patient: as `Audit.patient` answers.

    Those of a patient are those that name them, and those of a study that any record ever put under them. before: a
    sequence number, exclusive.
    """

    asked_by: str = ""
    study_instance_uid: str = ""
    patient: str = ""
    type: str = ""
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None

    def conditions(self) -> Iterator[sa.ColumnElement[bool]]:
        """Of rows of the trail."""
        columns = audit_record.c
        for value, column in (
            (self.asked_by, columns.asked_by),
            (self.study_instance_uid, columns.study_instance_uid),
            (self.type, columns.type),
        ):
            if value:
                yield column == value
        if self.patient:
            theirs = audit_record.alias()
            studies = sa.select(theirs.c.study_instance_uid).where(
                theirs.c.patient == self.patient, theirs.c.study_instance_uid.is_not(None)
            )
            yield sa.or_(columns.patient == self.patient, columns.study_instance_uid.in_(studies))
        if self.since is not None:
            yield columns.recorded_at >= self.since
        if self.until is not None:
            yield columns.recorded_at < self.until
        if self.before is not None:
            yield columns.sequence < self.before


class Audit:
    """`services.triage.ports.AuditTrail`, and what reads it. Raises StoreUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._secret = b""

    def record(self, event: AuditEvent, *, now: datetime) -> None:
        """Add an event."""
        self.record_all([event], now=now)

    def record_all(self, events: Sequence[AuditEvent], *, now: datetime) -> None:
        """Add events in one transaction, in their order."""
        with writing(self._engine) as connection:
            append_all(connection, events, now=now)

    def records(self, *, after: int = 0) -> Iterator[AuditRecord]:
        """Every record after a sequence number, in order."""
        return self.found(AuditQuery(), after=after)

    def page(self, *, after: int, limit: int) -> list[AuditRecord]:
        """The first records after a sequence number, in order."""
        query = sa.select(audit_record).where(audit_record.c.sequence > after).order_by(audit_record.c.sequence)
        with reading(self._engine) as connection:
            return [record_of(row) for row in connection.execute(query.limit(limit))]

    def find(self, query: AuditQuery, *, limit: int) -> list[AuditRecord]:
        """The newest records that fit, the newest first."""
        found = sa.select(audit_record).where(*query.conditions()).order_by(audit_record.c.sequence.desc())
        with reading(self._engine) as connection:
            return [record_of(row) for row in connection.execute(found.limit(limit))]

    def found(self, query: AuditQuery, *, after: int = 0) -> Iterator[AuditRecord]:
        """Every record that fits after a sequence number, in order."""
        fitting = sa.select(audit_record).where(*query.conditions()).order_by(audit_record.c.sequence).limit(_PAGE)
        while True:
            with reading(self._engine) as connection:
                rows = connection.execute(fitting.where(audit_record.c.sequence > after)).all()
            yield from map(record_of, rows)
            if len(rows) < _PAGE:
                return
            after = rows[-1].sequence

    def get(self, sequence: int) -> AuditRecord | None:
        """One record."""
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(audit_record).where(audit_record.c.sequence == sequence)).first()
            return None if row is None else record_of(row)

    def head(self) -> AuditRecord | None:
        """The last record; None: there is none."""
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(audit_record).order_by(audit_record.c.sequence.desc()).limit(1)).first()
            return None if row is None else record_of(row)

    def last_before(self, time: datetime) -> AuditRecord | None:
        """The last record before the first of this time or later."""
        younger = sa.select(sa.func.min(audit_record.c.sequence)).where(audit_record.c.recorded_at >= time)
        query = sa.select(audit_record).order_by(audit_record.c.sequence.desc()).limit(1)
        with reading(self._engine) as connection:
            first = connection.scalar(younger)
            row = connection.execute(query if first is None else query.where(audit_record.c.sequence < first)).first()
            return None if row is None else record_of(row)

    def pruned(self) -> AuditAnchor | None:
        """The last record that was taken away; None: none ever was."""
        with reading(self._engine) as connection:
            return pruned(connection)

    def searched_by(self, sequences: Sequence[int]) -> dict[int, tuple[str | None, ...]]:
        """What each of these records is found by, in the order of `search_columns`."""
        columns = [audit_record.c[name] for name in SEARCHED]
        these = sa.select(audit_record.c.sequence, *columns).where(audit_record.c.sequence.in_(sequences))
        with reading(self._engine) as connection:
            return {row[0]: tuple(row[1:]) for row in connection.execute(these)}

    def patient(self, patient_id: str, issuer: str = "") -> str:
        """The keyed digest by which the trail knows a patient."""
        return self.keyed(f"{issuer}\n{patient_id}")

    def keyed(self, text: str) -> str:
        """A digest that nobody can guess the text by who has the trail and not the database's secret."""
        if not self._secret:
            with writing(self._engine) as connection:
                self._secret = _key(connection)
        return _keyed(self._secret, text)

    def study_of(self, sop_instance_uid: str) -> str | None:
        """The study of a result's object."""
        query = (
            sa.select(result.c.study_instance_uid)
            .join(result_object, result_object.c.result_id == result.c.result_id)
            .where(result_object.c.sop_instance_uid == sop_instance_uid)
        )
        with reading(self._engine) as connection:
            return connection.scalar(query)


def append(connection: Connection, event: AuditEvent, *, now: datetime) -> None:
    """Add an event in a transaction, as the last thing that it does: the trail is locked until it ends.

    Nothing is added where its key is there already. An event about a study is also about its patient, as a keyed
    digest: that is added here.
    """
    append_all(connection, [event], now=now)


def append_all(connection: Connection, events: Sequence[AuditEvent], *, now: datetime) -> None:
    """The same of several, in their order."""
    if not events:
        return
    audit_held(connection)
    sequence, before = _end(connection)
    patients, taken = _patients(connection, events), _taken(connection, events)
    rows = []
    for event in events:
        if event.key and event.key in taken:
            continue
        taken.add(event.key)
        sequence += 1
        patient = patients.get(event.first(AuditObjectKind.STUDY) or "")
        if patient is not None and event.first(AuditObjectKind.PATIENT) is None:
            event = replace(event, objects=(*event.objects, patient))
        document = as_document(event, sequence=sequence, now=now)
        before = chained(before, document)
        row = {"sequence": sequence, "recorded_at": now, "document": document, "digest": before}
        rows.append(row | dict(zip(SEARCHED, search_columns(document), strict=True)))
    if rows:
        connection.execute(sa.insert(audit_record), rows)


def _end(connection: Connection) -> tuple[int, str]:
    """Number and digest of the last record, also where it was taken away."""
    newest = sa.select(audit_record.c.sequence, audit_record.c.digest).order_by(audit_record.c.sequence.desc()).limit(1)
    last = connection.execute(newest).first() or pruned(connection)
    return (last.sequence, last.digest) if last else (0, BEFORE_THE_FIRST)


def _taken(connection: Connection, events: Sequence[AuditEvent]) -> set[str]:
    """The keys that are in the trail already."""
    keys = [event.key for event in events if event.key]
    if not keys:
        return set()
    return set(connection.scalars(sa.select(audit_record.c.event_key).where(audit_record.c.event_key.in_(keys))))


def _patients(connection: Connection, events: Sequence[AuditEvent]) -> dict[str, AuditObject]:
    """By study."""
    return patients_of(connection, {uid for event in events if (uid := event.first(AuditObjectKind.STUDY)) is not None})


def patients_of(connection: Connection, uids: Collection[str]) -> dict[str, AuditObject]:
    """By study, as the trail knows them; for who deletes a study before its event is appended."""
    if not uids:
        return {}
    columns = study.c.study_instance_uid, study.c.patient_id, study.c.issuer_of_patient_id, study.c.tenant_issuer
    rows = connection.execute(
        sa.select(*columns).where(study.c.study_instance_uid.in_(sorted(uids)), study.c.patient_id != "")
    ).all()
    if not rows:
        return {}
    key = _key(connection)
    return {
        row.study_instance_uid: AuditObject(
            kind=AuditObjectKind.PATIENT,
            object_id=_keyed(key, f"{row.issuer_of_patient_id or row.tenant_issuer}\n{row.patient_id}"),
        )
        for row in rows
    }


def person(name: str) -> AuditActor:
    """Whoever asked for what is done now."""
    return AuditActor(name=name, address=asked_from.get())


def as_document(event: AuditEvent, *, sequence: int, now: datetime) -> str:
    """The event as JSON in one form: keys in order, no white space, nothing that it does not tell."""
    told = {
        "sequence": sequence,
        "recorded_at": now.isoformat(),
        **RootModel[AuditEvent](event).model_dump(mode="json"),
    }
    left_out = {name for name in ("happened_at", "key") if not told[name]}
    told = {name: value for name, value in told.items() if name not in left_out}
    return storable(json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False))


def event_of(document: str) -> AuditEvent:
    """The event of a document. Raises ValueError (it is none)."""
    return RootModel[AuditEvent].model_validate_json(document).root


def chained(before: str, document: str) -> str:
    """The digest of a record, from that of the one before."""
    return hashlib.sha256(f"{before}\n{document}".encode()).hexdigest()


SEARCHED = ("type", "asked_by", "study_instance_uid", "patient", "event_key")


def search_columns(document: str) -> tuple[str | None, ...]:
    """What a record is found by, from its document. Raises ValueError (it is none)."""
    event = event_of(document)
    study_, patient_ = (event.first(kind) for kind in (AuditObjectKind.STUDY, AuditObjectKind.PATIENT))
    return event.type[:32], event.asked_by, study_, patient_, event.key or None


def record_of(row: sa.Row[Any]) -> AuditRecord:
    """The record of a row."""
    return AuditRecord(sequence=row.sequence, recorded_at=row.recorded_at, document=row.document, digest=row.digest)


def pruned(connection: Connection) -> AuditAnchor | None:
    """See `Audit.pruned`."""
    row = connection.execute(sa.select(audit_pruned).order_by(audit_pruned.c.sequence.desc()).limit(1)).first()
    return None if row is None else AuditAnchor(sequence=row.sequence, digest=row.digest, at=row.pruned_at)


def _key(connection: Connection) -> bytes:
    """Made the first time, the same for all from then on."""
    mine = sa.select(kept_secret.c.value).where(kept_secret.c.name == _SECRET)
    found = connection.scalar(mine)
    if found is None:
        insert_new(connection, kept_secret, [{"name": _SECRET, "value": secrets.token_urlsafe(32)}])
        found = connection.scalar(mine)
    return str(found).encode()


def _keyed(key: bytes, text: str) -> str:
    return hmac.digest(key, text.encode("utf-8", "surrogatepass"), "sha256").hex()
