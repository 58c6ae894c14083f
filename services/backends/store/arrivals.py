"""Recording instances: what each arrival is, and which version of its study it joins or opens."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store import history, patients, retaining, summary, tenancy
from services.backends.store.columns import storable
from services.backends.store.engine import insert_new, locked
from services.backends.store.frozen import own_objects
from services.backends.store.tables import instance, study, study_version
from services.backends.store.versions import attributes_of, cancel_jobs, columns_of, instance_of, newest_version
from services.triage.completeness import is_routable
from services.triage.identity import identity
from services.triage.ports import Arrival, Recorded
from services.triage.retention import is_source
from services.triage.study import Instance, InstanceHeader, StudyAttributes, StudyState, VersionKey
from services.triage.tenant import Tenant

_CHUNK = 500  # bound variables in one statement: SQLite and PostgreSQL both have a limit


def doubtful(connection: Connection, instances: Sequence[Instance]) -> set[tuple[str, str]]:
    """Pairs of digests (kept, arrived) of one instance that differ, though not in what routing looks at."""
    known = _known(connection, [one.header.sop_instance_uid for one in instances])
    return {
        (old.digest, one.digest)
        for one in instances
        for old in known.get(one.header.sop_instance_uid, {}).values()
        if old.digest != one.digest and is_routable(one.header) and _same_to_routing(one.header, old.header)
    }


def record(
    connection: Connection,
    instances: Sequence[tuple[Instance, str]],
    *,
    now: datetime,
    tenant: Tenant | None,
    same_pixels: set[tuple[str, str]],
    default_issuer: str,
    traceparent: str | None = None,
) -> list[Recorded]:
    """See `StudyStore.record`. same_pixels: those of the `doubtful` pairs whose pixels are equal.

    Locked first are the patient registry, then the studies, all of them, in one order.
    """
    issuer = (tenant.issuer_of_patient_id if tenant else "") or default_issuer
    instances = patients.under_registry(connection, instances, default_issuer=issuer)
    attributes = {one.study.study_instance_uid: one.study for one, _ in reversed(instances)}
    rows = [{**columns_of(attributes[uid]), "received_at": now} for uid in sorted(attributes)]
    insert_new(connection, study, rows)
    locked(connection, list(attributes))
    not_ours = tenancy.take(connection, list(attributes), tenant)
    patients.note_patients(connection, [one for one, _ in instances if one.study.study_instance_uid not in not_ours])
    known = _known(connection, [one.header.sop_instance_uid for one, _ in instances])
    own = _own_results(connection, [one.header.sop_instance_uid for one, _ in instances])
    books = {uid: _Book(connection, uid, now, traceparent) for uid in attributes}
    recorded: list[Recorded] = []
    resent: dict[str, dict[str, datetime]] = {}
    undone: Counter[tuple[str, str]] = Counter()
    for one, sender in instances:
        if one.study.study_instance_uid in not_ours:
            recorded.append(Recorded(arrival=Arrival.OTHER_TENANT, version=None))
            continue
        book = books[one.study.study_instance_uid]
        contents = known.setdefault(one.header.sop_instance_uid, {})
        # those of the same study: a UID that turns up in another study is new there
        older = [o for o in contents.values() if o.header.study_instance_uid == one.study.study_instance_uid]
        if one.digest in contents:
            resent.setdefault(one.study.study_instance_uid, {})[one.digest] = now
            if one.digest == older[-1].digest:
                recorded.append(Recorded(arrival=Arrival.RESEND, version=None, replaced=_digests(older[:-1])))
            else:
                undone[one.study.study_instance_uid, sender] += 1
                recorded.append(Recorded(arrival=Arrival.OLDER, version=None))
            continue
        change = _change(one, older[-1] if older else None, same_pixels)
        contents[one.digest] = one
        mine = one.header.sop_instance_uid in own
        entered = book.enter(one, sender, conflict=bool(older), change=None if mine else change)
        recorded.append(replace(entered, replaced=_digests(older)))
    for book in books.values():
        book.close()
    history.write(
        connection,
        (
            history.line(uid, "study", uid, time=now, actor=sender, what="older_content", cause=f"{count} instances")
            for (uid, sender), count in undone.items()
        ),
    )
    for uid, digests in resent.items():
        retaining.kept_again(connection, uid, digests)
    return recorded


def _digests(instances: Sequence[Instance]) -> tuple[str, ...]:
    return tuple(one.digest for one in instances)


class _Change(StrEnum):
    """What an instance changes, so that it joins a receiving version or opens one; as the history says it."""

    IMAGES = "an image arrived"
    IDENTITY = "patient or order data changed"


def _change(new: Instance, old: Instance | None, same_pixels: set[tuple[str, str]]) -> _Change | None:
    if old is None:
        return _Change.IMAGES if is_routable(new.header) else None
    if not (is_routable(new.header) or is_routable(old.header)):
        return None
    if not _same_to_routing(new.header, old.header) or (old.digest, new.digest) not in same_pixels:
        return _Change.IMAGES
    return _Change.IDENTITY if identity(new.study) != identity(old.study) else None


def _same_to_routing(new: InstanceHeader, old: InstanceHeader) -> bool:
    same = {name: getattr(new, name) for name in ("transfer_syntax_uid", "requested_procedure_priority")}
    # `frames` are not known of what an earlier version of Vigie read
    return replace(old, frames=old.frames or new.frames, **same) == new


class _Book:
    """The entries of one study within one transaction."""

    def __init__(self, connection: Connection, study_instance_uid: str, now: datetime, traceparent: str | None) -> None:
        self._connection = connection
        self._uid = study_instance_uid
        self._now = now
        newest = newest_version(connection, study_instance_uid)
        self._number = newest.number if newest else 0
        self._images_since = (newest.images_since or newest.number) if newest else 0
        self._receiving = newest is not None and newest.state == StudyState.RECEIVING
        self._traceparent = newest.traceparent if newest and self._receiving else traceparent
        self._attributes: StudyAttributes | None = None
        self._rows: list[dict[str, Any]] = []
        self._lines: list[dict[str, Any]] = []

    def enter(self, one: Instance, sender: str, *, conflict: bool, change: _Change | None) -> Recorded:
        if conflict:
            self._note("study", self._uid, sender, "conflict", one.header.sop_instance_uid)
        if change is not None:
            self._attributes = one.study
            if not self._receiving:
                self._open(sender, change)
        if change is _Change.IMAGES:
            self._images_since = self._number
        # what changes nothing stays out of a version that is complete: it belongs to the next, should there be one
        since = self._number if self._receiving else self._number + 1
        self._rows.append(_row(one, sender, since, self._now))
        return Recorded(
            arrival=Arrival.CONFLICT if conflict else Arrival.NEW,
            version=VersionKey(study_instance_uid=self._uid, number=since) if change else None,
            traceparent=self._traceparent if change else None,
        )

    def close(self) -> None:
        """Write what was entered."""
        if not self._rows:
            return
        connection = self._connection
        connection.execute(sa.insert(instance), self._rows)
        if any(is_source(row["header"]) for row in self._rows):
            gone = study.c.study_instance_uid == self._uid, study.c.images_deleted_at.is_not(None)
            connection.execute(sa.update(study).where(*gone).values(images_deleted_at=None))
        if self._attributes is not None:
            where = study.c.study_instance_uid == self._uid
            connection.execute(sa.update(study).where(where).values(columns_of(self._attributes)))
            connection.execute(
                sa.update(study_version)
                .where(study_version.c.study_instance_uid == self._uid, study_version.c.number == self._number)
                .values(last_image_at=self._now, images_since=self._images_since)
            )
        history.write(connection, self._lines)
        summary.refresh(connection, self._uid)

    def _open(self, sender: str, change: _Change) -> None:
        self._number += 1
        cancel_jobs(self._connection, self._uid, now=self._now, cause=f"version {self._number} was opened")
        self._receiving = True
        self._connection.execute(
            sa.insert(study_version).values(
                study_instance_uid=self._uid,
                number=self._number,
                state=StudyState.RECEIVING,
                opened_at=self._now,
                last_image_at=self._now,
                traceparent=self._traceparent,
            )
        )
        self._note("version", str(self._number), sender, StudyState.RECEIVING, change)

    def _note(self, kind: str, subject: str, actor: str, what: str, cause: str) -> None:
        self._lines.append(history.line(self._uid, kind, subject, time=self._now, actor=actor, what=what, cause=cause))


def _row(one: Instance, sender: str, since_version: int, now: datetime) -> dict[str, Any]:
    return {
        "study_instance_uid": one.study.study_instance_uid,
        "series_instance_uid": one.header.series_instance_uid,
        "sop_instance_uid": one.header.sop_instance_uid,
        "digest": one.digest,
        "header": one.header,
        "attributes": _storable(one.as_received or one.study),
        "reconciled": _storable(one.study) if one.as_received else None,
        "since_version": since_version,
        "received_from": sender,
        "received_at": now,
        "size_bytes": one.size_bytes or None,
    }


def _storable(attributes: StudyAttributes) -> StudyAttributes:
    names = StudyAttributes.__dataclass_fields__
    return StudyAttributes(**{name: storable(getattr(attributes, name)) for name in names})


def _known(connection: Connection, uids: Sequence[str]) -> dict[str, dict[str, Instance]]:
    """SOP Instance UID -> digest -> instance, oldest first."""
    known: dict[str, dict[str, Instance]] = {}
    for chunk in _chunks(uids):
        rows = connection.execute(
            sa.select(instance.c.digest, instance.c.header, instance.c.attributes, instance.c.reconciled, study)
            .join(study, study.c.study_instance_uid == instance.c.study_instance_uid)
            .where(instance.c.sop_instance_uid.in_(chunk))
            .order_by(instance.c.id)
        )
        for row in rows:
            known.setdefault(row.header.sop_instance_uid, {})[row.digest] = instance_of(row, attributes_of(row))
    return known


def _own_results(connection: Connection, uids: Sequence[str]) -> set[str]:
    own: set[str] = set()
    for chunk in _chunks(uids):
        own.update(connection.scalars(own_objects(chunk)))
    return own


def _chunks(uids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (uids[start : start + _CHUNK] for start in range(0, len(uids), _CHUNK))
