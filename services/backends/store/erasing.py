"""A patient's data found, and studies erased with all that was derived from them: `SqlStudyStore.erasing` is one.

On request, what is to go is written down first (`deletion.whole`), then the files go, then all rows in one transaction:
a kill in between leaves the note, and whoever finds it goes on. By rule the rows go first, if the study is still due:
one that has come back by then keeps its rows and files. Of a study nothing stays but its UID in the audit trail.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from services.backends.store import audit, versions
from services.backends.store.deliveries import going
from services.backends.store.engine import locked, put, reading, writing
from services.backends.store.erased_rows import delete_patients, delete_rows
from services.backends.store.owed import may_have_arrived
from services.backends.store.retaining import ACTOR, deleted_event, is_expired
from services.backends.store.tables import (
    announcement,
    deletion,
    delivery,
    event,
    instance,
    job,
    patient,
    result,
    result_object,
    study,
    study_patient,
    study_version,
    training_case,
    verdict,
    verdict_document,
    workitem,
)
from services.triage.audit_types import AuditType
from services.triage.job import JobState
from services.triage.patient import PatientKey
from services.triage.result import DeliveryState
from services.triage.retention import Hold, Traces

_ERASED = "erased"
_COUNTED = {
    "versions": study_version,
    "jobs": job,
    "results": result,
    "verdicts": verdict,
    "verdict documents": verdict_document,
    "workitems": workitem,
    "deliveries": delivery,
    "training cases": training_case,
    "MPPS and notifications of instances": announcement,
    "lines of history": event,
}


class Erasing:
    """Each method is one transaction. Raises StoreUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def keys(self, patient_id: str, issuer: str | None) -> tuple[PatientKey, ...]:
        """All IDs under which this patient is known here: this one, and what a registry has merged with it.

        issuer: None: of any issuer.
        """
        with reading(self._engine) as connection:
            return _keys(connection, patient_id, issuer)

    def studies(self, keys: Collection[PatientKey]) -> tuple[str, ...]:
        """Studies with an image of any of these, in its own words or by a registry, oldest first."""
        with reading(self._engine) as connection:
            return _studies(connection, keys)

    def known(self, study_instance_uids: Collection[str]) -> tuple[str, ...]:
        """Those of them that are here."""
        mine = study.c.study_instance_uid.in_(sorted(study_instance_uids))
        with reading(self._engine) as connection:
            return tuple(connection.scalars(sa.select(study.c.study_instance_uid).where(mine)))

    def in_registry(self, keys: Collection[PatientKey]) -> int:
        """How many of these IDs the patient registry (HL7 ADT) told of."""
        with reading(self._engine) as connection:
            found = connection.execute(sa.select(patient.c.patient_id, patient.c.issuer).where(_told_of(keys)))
            return len(found.all())

    def names(self, study_instance_uids: Sequence[str]) -> frozenset[str]:
        """Names and accession numbers, so that a reason for the trail can be held against them."""
        mine = study.c.study_instance_uid.in_(study_instance_uids)
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(study.c.patient_name, study.c.accession_number).where(mine)).all()
        return frozenset(text for row in rows for text in row if text)

    def traces(self, study_instance_uids: Sequence[str], *, now: datetime) -> Traces:
        """All that is kept of studies."""
        with reading(self._engine) as connection:
            return _traces(connection, study_instance_uids, now)

    def begin(self, study_instance_uids: Sequence[str], *, actor: str, reason: str, now: datetime) -> Traces:
        """Write down that studies are to go; queued jobs are cancelled, nothing of them is sent any more.

        Where a worker or a sender has something of one in hand (`Traces.busy`), nothing changes.
        """
        with writing(self._engine) as connection:
            locked(connection, study_instance_uids)
            found = _traces(connection, study_instance_uids, now)
            if found.busy:
                return found
            same = {"whole": True, "decided_at": now, "not_newer_than": None, "actor": actor, "reason": reason}
            rows = [{"study_instance_uid": uid, **same} for uid in found.study_instance_uids]
            put(connection, deletion, rows)
            for uid in found.study_instance_uids:
                versions.cancel_jobs(connection, uid, now=now, cause="the study is erased")
            pending = delivery.c.study_instance_uid.in_(study_instance_uids), delivery.c.state == DeliveryState.PENDING
            given_up = {"state": DeliveryState.GIVEN_UP, "next_at": None, "reason_code": _ERASED}
            connection.execute(sa.update(delivery).where(*pending).values(given_up))
            return found

    def end(self, study_instance_uid: str, gone: Traces, *, now: datetime) -> bool:
        """Delete all rows of a study whose files are gone, with a record in the audit trail.

        gone: what was deleted. False, and nothing changes: something has come since, or is in hand again.
        """
        with writing(self._engine) as connection:
            _locked_alone(connection, study_instance_uid)
            row = connection.execute(
                sa.select(deletion).where(deletion.c.study_instance_uid == study_instance_uid, deletion.c.whole)
            ).first()
            found = _traces(connection, [study_instance_uid], now)
            if row is None:
                return not found.study_instance_uids
            if found.busy or set(found.images) - set(gone.images) or set(found.results) - set(gone.results):
                return False
            _delete(connection, study_instance_uid, found, AuditType.ERASURE, row.actor, row.reason, now)
        return True

    def expire(
        self, study_instance_uid: str, *, untouched_since: datetime, reason: str, now: datetime
    ) -> Traces | None:
        """Delete all rows of a study by rule; answers what files it had.

        None, and nothing changes: images of it are here, or something was done with it since then, or holds it.
        """
        with writing(self._engine) as connection:
            _locked_alone(connection, study_instance_uid)
            if not is_expired(connection, study_instance_uid, untouched_since, now):
                return None
            found = _traces(connection, [study_instance_uid], now)
            if found.busy:
                return None
            _delete(connection, study_instance_uid, found, AuditType.RECORD_DELETED, ACTOR, reason, now)
            return found

    def forget_patients(self, keys: Collection[PatientKey]) -> int:
        """Delete what a registry told of these IDs; how many it told of."""
        with writing(self._engine) as connection:
            return delete_patients(connection, keys)

    def scrub(self) -> bool:
        """Have an SQLite file hold nothing of what was deleted: free pages, and the log of writes.

        False: a reader kept the log from being emptied; try again. On PostgreSQL that is VACUUM's, and nothing happens.
        """
        if self._engine.dialect.name != "sqlite":
            return True
        raw = self._engine.raw_connection()
        try:
            raw.cursor().execute("VACUUM")
            busy, _, _ = raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            raw.close()
        return not busy


def _locked_alone(connection: Connection, study_instance_uid: str) -> None:
    """Lock a study that is to go: what others add refers to it, and would forbid its deletion."""
    mine = study.c.study_instance_uid == study_instance_uid
    connection.execute(sa.select(study.c.study_instance_uid).where(mine).with_for_update()).all()


def _delete(
    connection: Connection, uid: str, gone: Traces, kind: AuditType, actor: str, reason: str, now: datetime
) -> None:
    whose = audit.patients_of(connection, [uid])  # as a digest, by which the trail is searched
    delete_rows(connection, uid)
    details = {"images": str(len(gone.images)), "objects": str(len(gone.results)), "reason": reason}
    sent_to = sorted({name for name, _, _ in gone.sent})
    details |= {"sent_to": ", ".join(sent_to)} if sent_to else {}
    audit.append(connection, deleted_event(uid, kind, actor, details, *whose.values()), now=now)


def _keys(connection: Connection, patient_id: str, issuer: str | None) -> tuple[PatientKey, ...]:
    known = {(patient_id, issuer or "")}
    if issuer is None:
        for table in (patient, study_patient):
            mine = table.c.patient_id == patient_id
            rows = connection.execute(sa.select(table.c.patient_id, table.c.issuer).where(mine))
            known.update((row.patient_id, row.issuer) for row in rows)
        ids = (study.c.patient_id, study.c.issuer_of_patient_id)
        rows = connection.execute(sa.select(*ids).where(study.c.patient_id == patient_id))
        known.update((row.patient_id, row.issuer_of_patient_id) for row in rows)
    while True:
        more = set(known)
        for row in connection.execute(sa.select(patient).where(patient.c.merged_into_id.is_not(None))):
            prior, surviving = (row.patient_id, row.issuer), (row.merged_into_id, row.merged_into_issuer)
            if prior in more or surviving in more:
                more |= {prior, surviving}
        if more == known:
            return tuple(PatientKey(patient_id=each, issuer=of) for each, of in sorted(known))
        known = more


def _studies(connection: Connection, keys: Collection[PatientKey]) -> tuple[str, ...]:
    found: dict[str, datetime] = {}
    for key in keys:
        own = study_patient.c.patient_id == key.patient_id, study_patient.c.issuer == key.issuer
        named = study.c.study_instance_uid.in_(sa.select(study_patient.c.study_instance_uid).where(*own))
        # an ID without an issuer of its own has its tenant's
        by_issuer = (study.c.issuer_of_patient_id, study.c.tenant_issuer)
        issuer = sa.case((by_issuer[0] == "", by_issuer[1]), else_=by_issuer[0])
        held = sa.and_(study.c.patient_id == key.patient_id, sa.or_(issuer == key.issuer, by_issuer[0] == key.issuer))
        rows = sa.select(study.c.study_instance_uid, study.c.received_at).where(sa.or_(named, held))
        found.update({row.study_instance_uid: row.received_at for row in connection.execute(rows)})
    return tuple(sorted(found, key=lambda uid: (found[uid], uid)))


def _told_of(keys: Collection[PatientKey]) -> sa.ColumnElement[bool]:
    these = [sa.and_(patient.c.patient_id == key.patient_id, patient.c.issuer == key.issuer) for key in keys]
    return sa.or_(sa.false(), *these)


def _traces(connection: Connection, uids: Sequence[str], now: datetime) -> Traces:
    here = connection.scalars(sa.select(study.c.study_instance_uid).where(study.c.study_instance_uid.in_(uids))).all()
    images = connection.scalars(sa.select(instance.c.digest).where(instance.c.study_instance_uid.in_(uids))).all()
    objects = (
        sa.select(result_object.c.sha256)
        .join(result, result.c.result_id == result_object.c.result_id)
        .where(result.c.study_instance_uid.in_(uids))
    )
    documents = sa.select(verdict_document.c.sha256).where(verdict_document.c.study_instance_uid.in_(uids))
    counts = {
        name: connection.scalar(
            sa.select(sa.func.count()).select_from(table).where(table.c.study_instance_uid.in_(uids))
        )
        for name, table in _COUNTED.items()
    }
    return Traces(
        study_instance_uids=tuple(sorted(here)),
        images=tuple(images),
        results=(*connection.scalars(objects), *connection.scalars(documents)),
        counts={name: int(count or 0) for name, count in counts.items()},
        sent=tuple(_sent(connection, uids)),
        busy=_busy(connection, uids, now),
    )


def _sent(connection: Connection, uids: Sequence[str]) -> list[tuple[str, str, tuple[str, ...]]]:
    # what we gave up ourselves before it was ever tried
    kept_here = sa.and_(delivery.c.attempt == 0, delivery.c.reason_code.is_not_distinct_from(_ERASED))
    rows: Sequence[Any] = connection.execute(
        sa.select(delivery)
        .where(delivery.c.study_instance_uid.in_(uids), may_have_arrived(), sa.not_(kept_here))
        .order_by(delivery.c.destination, delivery.c.created_at)
    ).all()
    return [(row.destination, row.address, tuple(uid for _, uid, _ in going(connection, row))) for row in rows]


def _busy(connection: Connection, uids: Sequence[str], now: datetime) -> frozenset[Hold]:
    """What a process has in hand at this moment; once it has died, its claim runs out."""
    analysed = job.c.study_instance_uid.in_(uids), job.c.state == JobState.ANALYSING, job.c.lease_expires_at > now
    sent = delivery.c.study_instance_uid.in_(uids), delivery.c.claim_expires_at > now
    found = {Hold.IN_WORK: analysed, Hold.UNDELIVERED: sent}
    return frozenset(hold for hold, where in found.items() if connection.scalar(sa.select(sa.exists().where(*where))))
