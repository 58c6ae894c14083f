"""What a PACS is asked about receiving versions: who asks now, what it said, when to ask again; and what is here."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from services.backends.store import announcements, audit_events, history
from services.backends.store.engine import insert_new, locked, reading, writing
from services.backends.store.frozen import own_objects
from services.backends.store.tables import inquiry, instance, study_version
from services.triage.audit_types import AuditType
from services.triage.completeness import Answer, Evidence, Inquired
from services.triage.study import StudyState, VersionKey

_LOOKED_AT = 8  # of the versions that are due: another process may be about to take the first ones


@dataclass(frozen=True, kw_only=True, slots=True)
class Inquiry:
    """A version that this process may ask about now. as_of: its last image. asked: how often, since that image."""

    version: VersionKey
    as_of: datetime
    asked: int


class Inquiries:
    """Each method is one transaction. Raises StoreUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def claim(self, *, now: datetime, quiet_period: timedelta, duration: timedelta) -> Inquiry | None:
        """Take a quiet version that is to be asked about, and that nobody has; the longest quiet first.

        Due are those never asked about since their last image, and those whose time to be asked again has come. A claim
        that ran out (its process died) is free again. None: nothing is due.
        """
        due = _due(now, quiet_period)
        with reading(self._engine) as connection:
            found = connection.execute(due.order_by(study_version.c.last_image_at).limit(_LOOKED_AT)).all()
        for uid in dict.fromkeys(row.study_instance_uid for row in found):
            with writing(self._engine) as connection:
                locked(connection, [uid])
                row = connection.execute(due.where(study_version.c.study_instance_uid == uid)).first()
                if row is not None:
                    return _take(connection, row, now + duration)
        return None

    def answered(self, asked: Inquiry, answer: Answer, *, now: datetime, again_at: datetime | None) -> None:
        """Record an answer, and let go; at `again_at` it is due again (None: not before another image comes).

        A PACS that cannot be reached takes nothing back of what it said before. Nothing changes for a version that an
        image has joined meanwhile.
        """
        version = asked.version
        this = inquiry.c.study_instance_uid == version.study_instance_uid, inquiry.c.number == version.number
        with writing(self._engine) as connection:
            locked(connection, [version.study_instance_uid])
            row = connection.execute(sa.select(inquiry).where(*this, inquiry.c.as_of == asked.as_of)).first()
            if row is None:
                return
            values: dict[str, Any] = {"next_at": again_at, "claim": None, "claim_expires_at": None}
            if answer.outcome is not Inquired.UNREACHABLE or row.outcome != Inquired.MORE:
                values |= {"outcome": answer.outcome, "text": answer.text}
            connection.execute(sa.update(inquiry).where(*this).values(asked=inquiry.c.asked + 1, **values))
            if answer.outcome is Inquired.MORE and row.outcome != Inquired.MORE:
                _note_waiting(connection, version, answer, now)
            if answer.outcome not in (Inquired.NOT_ASKED, Inquired.UNREACHABLE):
                uid, told = version.study_instance_uid, {"answer": answer.outcome.value, "text": answer.text}
                audit_events.of_a_study(connection, AuditType.PACS_ASKED, uid, actor="asking", now=now, **told)

    def here(self, study_instance_uid: str) -> dict[str, int]:
        """Series Instance UID -> how many instances of it are here, each UID once; our own results are not counted."""
        own = own_objects()
        rows = sa.select(instance.c.series_instance_uid, sa.func.count(sa.distinct(instance.c.sop_instance_uid)))
        rows = rows.where(instance.c.study_instance_uid == study_instance_uid, instance.c.sop_instance_uid.not_in(own))
        with reading(self._engine) as connection:
            found = connection.execute(rows.group_by(instance.c.series_instance_uid))
            return {uid: int(count) for uid, count in found}

    def is_receiving(self, study_instance_uid: str) -> bool:
        """Whether instances of a study still arrive."""
        this = study_version.c.study_instance_uid == study_instance_uid, study_version.c.state == StudyState.RECEIVING
        with reading(self._engine) as connection:
            return bool(connection.scalar(sa.select(sa.exists().where(*this))))


def evidence(connection: Connection, version: VersionKey) -> Evidence | None:
    """See `StudyStore.evidence`."""
    row = connection.execute(
        sa.select(study_version.c.last_image_at, study_version.c.completion_asked, inquiry.c.outcome, inquiry.c.text)
        .outerjoin(inquiry, _same_version() & (inquiry.c.as_of == study_version.c.last_image_at))
        .where(
            study_version.c.study_instance_uid == version.study_instance_uid,
            study_version.c.number == version.number,
            study_version.c.state == StudyState.RECEIVING,
        )
    ).first()
    if row is None:
        return None
    return Evidence(
        last_image_at=row.last_image_at,
        completion_asked=row.completion_asked,
        answer=Answer(outcome=Inquired(row.outcome), text=row.text) if row.outcome else None,
        announced=announcements.announced(connection, version),
    )


def waiting(connection: Connection) -> int:
    """How many receiving versions wait for what a PACS has of them."""
    more = inquiry.c.outcome == Inquired.MORE, study_version.c.state == StudyState.RECEIVING
    return (
        connection.scalar(
            sa.select(sa.func.count()).select_from(inquiry).join(study_version, _same_version()).where(*more)
        )
        or 0
    )


def _same_version() -> sa.ColumnElement[bool]:
    return sa.and_(
        inquiry.c.study_instance_uid == study_version.c.study_instance_uid, inquiry.c.number == study_version.c.number
    )


def _due(now: datetime, quiet_period: timedelta) -> sa.Select[Any]:
    newer = inquiry.c.as_of != study_version.c.last_image_at
    return (
        sa.select(study_version, inquiry.c.asked, newer.label("newer"))
        .outerjoin(inquiry, _same_version())
        .where(
            study_version.c.state == StudyState.RECEIVING,
            study_version.c.last_image_at <= now - quiet_period,
            ~study_version.c.completion_asked,
            sa.or_(inquiry.c.number.is_(None), newer, inquiry.c.outcome.is_(None), inquiry.c.next_at <= now),
            sa.or_(inquiry.c.claim_expires_at.is_(None), inquiry.c.claim_expires_at <= now),
        )
    )


def _take(connection: Connection, row: Any, until: datetime) -> Inquiry:
    version = VersionKey(study_instance_uid=row.study_instance_uid, number=row.number)
    this = inquiry.c.study_instance_uid == row.study_instance_uid, inquiry.c.number == row.number
    if row.asked is None:
        key = {"study_instance_uid": row.study_instance_uid, "number": row.number}
        insert_new(connection, inquiry, [{**key, "as_of": row.last_image_at, "asked": 0}])
    values: dict[str, Any] = {"claim": uuid4().hex, "claim_expires_at": until}
    if row.newer:
        values |= {"as_of": row.last_image_at, "asked": 0, "outcome": None, "text": None, "next_at": None}
    connection.execute(sa.update(inquiry).where(*this).values(**values))
    asked = 0 if row.newer else row.asked or 0
    return Inquiry(version=version, as_of=row.last_image_at, asked=asked)


def _note_waiting(connection: Connection, version: VersionKey, answer: Answer, now: datetime) -> None:
    uid, number = version.study_instance_uid, str(version.number)
    line = history.line(uid, "version", number, time=now, actor="gateway", what="waits_for_pacs", cause=answer.text)
    history.write(connection, [line])
