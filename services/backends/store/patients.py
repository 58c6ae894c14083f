"""The patient registry: what HL7 ADT messages have said, and the images and results that it is about.

Who reads it to record images holds off whoever changes it, and the other way round: no image slips in between.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store import audit_events, history, summary, versions
from services.backends.store.engine import add_one, insert_new, locked, put
from services.backends.store.tables import adt_count, instance, patient, study, study_patient, study_version
from services.triage.audit_types import AuditType
from services.triage.completeness import is_routable
from services.triage.identity import identity
from services.triage.patient import (
    MAX_ID_CHARACTERS,
    AdtMessage,
    AdtOutcome,
    Demographics,
    Patient,
    PatientKey,
    Register,
    Stamp,
)
from services.triage.ports import Reconciled
from services.triage.study import Instance, StudyAttributes, StudyState
from services.triage.tenant import with_issuer

_Keys = Collection[PatientKey]

# as they are stored: two texts that differ may mean the same
_OWN = sa.type_coerce(instance.c.attributes, sa.Text)
_HELD = sa.type_coerce(instance.c.reconciled, sa.Text)


def under_registry(
    connection: Connection, instances: Sequence[tuple[Instance, str]], *, default_issuer: str
) -> list[tuple[Instance, str]]:
    """Instances that are about to be recorded, under the patient data that hold."""
    _hold(connection, "SHARE")
    register = Register(default_issuer=default_issuer)
    keys = {register.key(_key(one.study)) for one, _ in instances}
    register = Register(_forest(connection, keys, upwards_only=True), default_issuer=default_issuer)
    return [(_held(one, register.holds(one.study)), sender) for one, sender in instances]


def note_patients(connection: Connection, instances: Iterable[Instance]) -> None:
    """Note which patients the instances of a study name, so that a message finds them."""
    named = {(one.study.study_instance_uid, _key(one.as_received or one.study)) for one in instances}
    rows = [
        {"study_instance_uid": uid, "patient_id": key.patient_id, "issuer": key.issuer}
        for uid, key in named
        if key.patient_id and max(len(key.patient_id), len(key.issuer)) <= MAX_ID_CHARACTERS
    ]
    if rows:
        insert_new(connection, study_patient, sorted(rows, key=lambda row: tuple(row.values())))


def reconcile(connection: Connection, message: AdtMessage, *, default_issuer: str, now: datetime) -> Reconciled:
    """See `StudyStore.reconcile_patients`. The registry is held first, then the studies, in one order."""
    _hold(connection, "SHARE ROW EXCLUSIVE")
    register = Register(default_issuer=default_issuer)
    named = {register.key(key) for change in message.changes for key in (*change.keys, *sum(change.merges, ()))}
    register = Register(_forest(connection, named), default_issuer=default_issuer)
    concerned = {*named, *register.patients}
    changed = register.apply(message)
    put(connection, patient, [_row(one) for one in changed])
    uids = _studies(connection, concerned, default_issuer=default_issuer) if changed else []
    locked(connection, uids)
    moved = [uid for uid in uids if _reconcile_study(connection, uid, register, message, now)]
    outcome = AdtOutcome.APPLIED if changed else AdtOutcome.UNCHANGED
    count(connection, message.trigger_event, outcome)
    keys = [key for change in message.changes for key in change.keys]
    about = {"message": f"ADT^{message.trigger_event}", "control_id": message.control_id}
    actor = message.stamp.sender
    audit_events.of_studies(connection, AuditType.PATIENT_DATA, moved, actor=actor, now=now, **about)
    return Reconciled(
        outcome=outcome, studies=len(moved), retired=any(register.survivor(key) != register.key(key) for key in keys)
    )


def count(connection: Connection, trigger_event: str, outcome: AdtOutcome) -> None:
    """One message more, for the metrics."""
    add_one(connection, adt_count, {"trigger_event": trigger_event, "outcome": outcome}, "messages")


def _reconcile_study(connection: Connection, uid: str, register: Register, message: AdtMessage, now: datetime) -> bool:
    """Put a study under the patient data that hold; whether that makes another patient of it, or of its images."""
    mine = instance.c.study_instance_uid == uid
    # a writer before revision 0005 kept what all of its instances tell with the study
    told = versions.study_attributes(connection, uid)
    issuer = connection.scalar(sa.select(study.c.tenant_issuer).where(study.c.study_instance_uid == uid)) or ""
    connection.execute(sa.update(instance).where(mine, instance.c.attributes.is_(None)).values(attributes=told))
    groups = connection.execute(
        sa.select(instance.c.attributes, instance.c.reconciled, _OWN.label("own"), _HELD.label("held"))
        .where(mine)
        .distinct()
    ).all()
    has_moved = False
    for group in groups:
        before, after = group.reconciled or group.attributes, register.holds(group.attributes, issuer=issuer)
        if before == after:
            continue
        these = (mine, group.own == _OWN, _HELD.is_not_distinct_from(group.held))
        has_moved |= identity(before) != identity(after) and _has_image(connection, these)
        value = None if after == group.attributes else after
        connection.execute(sa.update(instance).where(*these).values(reconciled=value))
    shown = _shown(connection, uid)
    if told is None or not (has_moved or identity(with_issuer(shown, issuer)) != identity(told)):
        return False
    connection.execute(sa.update(study).where(study.c.study_instance_uid == uid).values(versions.columns_of(shown)))
    cause = f"ADT^{message.trigger_event}, message {message.control_id}"
    history.write(
        connection,
        [history.line(uid, "study", uid, time=now, actor=message.stamp.sender, what="patient_data", cause=cause)],
    )
    if has_moved:
        _write_again(connection, uid, now=now)
    summary.refresh(connection, uid)
    return True


def _has_image(connection: Connection, these: Sequence[sa.ColumnElement[bool]]) -> bool:
    return any(is_routable(header) for header in connection.scalars(sa.select(instance.c.header).where(*these)))


def _shown(connection: Connection, uid: str) -> StudyAttributes:
    """What the study's own row tells: what its newest image does, before any has come what its first instance does."""
    rows = connection.execute(
        sa.select(instance.c.header, instance.c.attributes, instance.c.reconciled)
        .where(instance.c.study_instance_uid == uid)
        .order_by(instance.c.id.desc())
    )
    for row in rows:  # one by one: a header is read as it is looked at
        shown: StudyAttributes = row.reconciled or row.attributes
        if is_routable(row.header):
            break
    return shown


def _write_again(connection: Connection, uid: str, *, now: datetime) -> None:
    """Have what was made of the images made again, as by a late image; of what no rule claims nothing was made."""
    newest = versions.newest_version(connection, uid)
    if newest is None:
        return
    if newest.state == StudyState.RECEIVING:
        # a plan that is made now knows the earlier patient: it is not taken
        connection.execute(
            sa.update(study_version)
            .where(study_version.c.study_instance_uid == uid, study_version.c.number == newest.number)
            .values(last_image_at=now)
        )
    elif newest.out_of_scope_code is None:
        versions.open_next(connection, newest, now=now, actor="store", cause="patient data changed")


def _studies(connection: Connection, keys: _Keys, *, default_issuer: str) -> list[str]:
    """Those of which an instance names one of these patients; whose an ID is that has no issuer, the tenant says."""
    ids = sorted({key.patient_id for key in keys})
    rows = connection.execute(
        sa.select(study_patient, study.c.tenant_issuer)
        .join(study, study.c.study_instance_uid == study_patient.c.study_instance_uid)
        .where(study_patient.c.patient_id.in_(ids))
    )
    found = set()
    for row in rows:
        issuer = row.issuer or row.tenant_issuer or default_issuer
        if PatientKey(patient_id=row.patient_id, issuer=issuer) in keys:
            found.add(row.study_instance_uid)
    return sorted(found)


def _forest(connection: Connection, keys: _Keys, *, upwards_only: bool = False) -> list[Patient]:
    """All that is known of these IDs, of those that they have become, and of those that have become one of them."""
    found: dict[PatientKey, Patient] = {}
    asked: set[PatientKey] = set()
    wanted = {key for key in keys if key.patient_id}
    while wanted:
        asked |= wanted
        ids = sorted({key.patient_id for key in wanted})
        where: sa.ColumnElement[bool] = patient.c.patient_id.in_(ids)
        if not upwards_only:
            where = sa.or_(where, patient.c.merged_into_id.in_(ids))
        rows = [_patient(row) for row in connection.execute(sa.select(patient).where(where))]
        found |= {one.key: one for one in rows if one.key in wanted or (not upwards_only and one.merged_into in wanted)}
        wanted = {key for one in found.values() for key in (one.key, one.merged_into) if key is not None} - asked
    return list(found.values())


def _key(told: StudyAttributes) -> PatientKey:
    return PatientKey(patient_id=told.patient_id, issuer=told.issuer_of_patient_id)


def _held(one: Instance, holds: StudyAttributes) -> Instance:
    return one if holds == one.study else replace(one, study=holds, as_received=one.study)


def _patient(row: sa.Row[tuple[object, ...]]) -> Patient:
    return Patient(
        key=PatientKey(patient_id=row.patient_id, issuer=row.issuer),
        demographics=Demographics(
            patient_name=row.patient_name, patient_birth_date=row.patient_birth_date, patient_sex=row.patient_sex
        ),
        told=None if row.told_at is None else Stamp(at=row.told_at, sender=row.told_by),
        merged_into=None
        if row.merged_into_id is None
        else PatientKey(patient_id=row.merged_into_id, issuer=row.merged_into_issuer),
        merged=None if row.merged_at is None else Stamp(at=row.merged_at, sender=row.merged_by),
    )


def _row(one: Patient) -> dict[str, object]:
    into, told, merged = one.merged_into, one.told, one.merged
    return {
        "patient_id": one.key.patient_id,
        "issuer": one.key.issuer,
        "patient_name": one.demographics.patient_name,
        "patient_birth_date": one.demographics.patient_birth_date,
        "patient_sex": one.demographics.patient_sex,
        "told_at": told and told.at,
        "told_by": told and told.sender,
        "merged_into_id": into and into.patient_id,
        "merged_into_issuer": into and into.issuer,
        "merged_at": merged and merged.at,
        "merged_by": merged and merged.sender,
    }


def _hold(connection: Connection, mode: str) -> None:
    """Until the transaction ends. SQLite has one writer at a time anyway."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"LOCK TABLE patient IN {mode} MODE")
