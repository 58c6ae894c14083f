"""Deleting the images of studies by rule: `SqlStudyStore.retaining` is one.

It is decided and written down in one transaction (`deletion`), in which the study is locked: no job begins, and no
image is recorded, while it is looked at. The files go after that, and the row last: who finds one goes on with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

import sqlalchemy as sa
from pydantic import RootModel
from sqlalchemy import Connection, Engine

from services.backends.store import audit, history
from services.backends.store.engine import insert_new, locked, reading, writing
from services.backends.store.holds import Place, chunks, described, held, kept, touched
from services.backends.store.tables import deletion, instance, result_object, retention, study, verdict_document
from services.triage.audit import AuditActor, AuditEvent, AuditObject, AuditObjectKind
from services.triage.audit_types import AuditType, audited
from services.triage.ports import Deleted
from services.triage.retention import Hold, Kept, Retention, RetentionReport, is_source

_Report = RootModel[RetentionReport]
ACTOR = "retention"
UNTOUCHED = "nothing was done with it for"
"""How the reason begins for which a record goes."""

_TURN = "files"


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenDeletion:
    """Files that are to go. digests: of the images that are marked. whole: the study is being erased."""

    study_instance_uid: str
    whole: bool
    not_newer_than: datetime | None
    digests: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Deletions:
    """What was deleted ever, by rule."""

    studies: int
    size_bytes: int


class Retaining:
    """Each method is one transaction. Raises StoreUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def claim(self, *, now: datetime, duration: timedelta, due: bool = False) -> str | None:
        """Be the one process that deletes or copies files; None: another does. due: only when it is time to look."""
        free = sa.or_(retention.c.claim_expires_at.is_(None), retention.c.claim_expires_at <= now)
        where = [retention.c.turn == _TURN, free, *([retention.c.next_at <= now] if due else [])]
        mine = uuid4().hex
        with writing(self._engine) as connection:
            first = {"turn": _TURN, "next_at": now, "deleted_studies": 0, "deleted_bytes": 0}
            insert_new(connection, retention, [first])
            values = {"claim": mine, "claim_expires_at": now + duration}
            return mine if connection.execute(sa.update(retention).where(*where).values(values)).rowcount else None

    def is_due(self, *, now: datetime) -> bool:
        """Whether it is time to look; without the write lock."""
        with reading(self._engine) as connection:
            next_at = connection.scalar(sa.select(retention.c.next_at))
            return next_at is None or next_at <= now

    def renew(self, claim: str, *, now: datetime, duration: timedelta) -> bool:
        """Keep the claim for longer. False: another process has taken it meanwhile, and it is left to that."""
        with writing(self._engine) as connection:
            mine = sa.update(retention).where(retention.c.claim == claim)
            return connection.execute(mine.values(claim_expires_at=now + duration)).rowcount == 1

    def release(self, claim: str, *, report: RetentionReport | None = None, next_at: datetime | None = None) -> None:
        """Let go, with what was found."""
        values: dict[str, object] = {"claim": None, "claim_expires_at": None}
        values |= {"report": _Report(report).model_dump_json()} if report is not None else {}
        values |= {"next_at": next_at} if next_at is not None else {}
        with writing(self._engine) as connection:
            connection.execute(sa.update(retention).where(retention.c.claim == claim).values(values))

    def report(self) -> tuple[RetentionReport | None, Deletions]:
        """What the last pass found, and what was deleted ever."""
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(retention)).first()
        if row is None:
            return None, Deletions(studies=0, size_bytes=0)
        report = _Report.model_validate_json(row.report).root if row.report else None
        return report, Deletions(studies=row.deleted_studies, size_bytes=row.deleted_bytes)

    def kept(
        self, *, received_before: datetime, after: Place | None = None, limit: int = 200, now: datetime
    ) -> tuple[list[Kept], Place | None]:
        """Studies with images here, oldest first; and the place to go on from, None at the end."""
        with reading(self._engine) as connection:
            return kept(connection, received_before=received_before, after=after, limit=limit, now=now)

    def recorded(self, *, since_before: datetime, limit: int, now: datetime) -> list[str]:
        """Studies without images here that nothing was done with since then, and that nothing holds."""
        found = (
            sa.select(study.c.study_instance_uid)
            .where(study.c.images_deleted_at.is_not(None), study.c.received_at <= since_before)
            .order_by(study.c.received_at)
        )
        with reading(self._engine) as connection:
            uids = connection.scalars(found).all()
            old: list[str] = []
            for chunk in chunks(uids, 200):
                old += _untouched(connection, chunk, since_before, now)
                if len(old) >= limit:
                    break
            return old[:limit]

    def digests(self, study_instance_uid: str) -> tuple[str, ...]:
        """Of the images of a study that are kept here."""
        mine = instance.c.study_instance_uid == study_instance_uid, instance.c.deleted_at.is_(None)
        with reading(self._engine) as connection:
            return tuple(connection.scalars(sa.select(instance.c.digest).where(*mine)))

    def decide(self, study_instance_uid: str, rules: Retention, *, now: datetime, pressed: bool = False) -> bool:
        """Have the images of a study go, if the rules still say so and nothing holds them; they are marked."""
        with writing(self._engine) as connection:
            locked(connection, [study_instance_uid])
            found = described(connection, [study_instance_uid], now=now)
            if not found or (cutoff := rules.cutoff(found[0], now, pressed=pressed)) is None:
                return False
            if rules.holds(found[0], now):
                return False
            age = (now - found[0].since).total_seconds() / 86400
            reason = f"{'disk nearly full, ' if pressed else ''}{age:.1f} days old"
            _mark(connection, found[0], not_newer_than=cutoff, reason=reason, now=now)
            return True

    def open(self, *, whole: bool = False) -> list[OpenDeletion]:
        """What was decided and is not done."""
        with reading(self._engine) as connection:
            rows = connection.execute(
                sa.select(deletion).where(deletion.c.whole == whole).order_by(deletion.c.decided_at)
            ).all()
            return [
                OpenDeletion(
                    study_instance_uid=row.study_instance_uid,
                    whole=row.whole,
                    not_newer_than=row.not_newer_than,
                    digests=_marked(connection, row.study_instance_uid),
                )
                for row in rows
            ]

    def decide_anew(self) -> None:
        """Forget what an older version had decided to erase by rule: nobody had asked again whether it is still due."""
        with writing(self._engine) as connection:
            by_rule = deletion.c.whole, deletion.c.actor == ACTOR, deletion.c.reason.like(f"{UNTOUCHED}%")
            connection.execute(sa.delete(deletion).where(*by_rule))

    def done(self, study_instance_uid: str, deleted: Deleted) -> None:
        """The files are gone, but for those that came again."""
        with writing(self._engine) as connection:
            locked(connection, [study_instance_uid])
            kept_again(connection, study_instance_uid, deleted.came_again)
            this = deletion.c.study_instance_uid == study_instance_uid
            gone = connection.execute(sa.delete(deletion).where(this, sa.not_(deletion.c.whole)))
            counted = {"deleted_bytes": retention.c.deleted_bytes + deleted.size_bytes}
            if gone.rowcount and not deleted.came_again:
                counted["deleted_studies"] = retention.c.deleted_studies + 1
            connection.execute(sa.update(retention).values(counted))

    def unnamed(self, sha256s: Sequence[str]) -> set[str]:
        """Of files of results: those that no result and no document names."""
        named: set[str] = set()
        with reading(self._engine) as connection:
            for chunk in chunks(sha256s):
                for column in (result_object.c.sha256, verdict_document.c.sha256):
                    named.update(connection.scalars(sa.select(column).where(column.in_(chunk))))
        return set(sha256s) - named


def is_expired(connection: Connection, study_instance_uid: str, before: datetime, now: datetime) -> bool:
    """Whether a study is to go by rule, still: it is locked, and may have come back since it was listed."""
    gone = study.c.study_instance_uid == study_instance_uid, study.c.images_deleted_at.is_not(None)
    goes = deletion.c.study_instance_uid == study_instance_uid
    if connection.scalar(sa.select(sa.or_(~sa.exists().where(*gone), sa.exists().where(goes)))):
        return False
    return bool(_untouched(connection, [study_instance_uid], before, now))


def kept_again(connection: Connection, study_instance_uid: str, times: Mapping[str, datetime]) -> None:
    """Images that were to go, or had gone, are here (digest -> when they came); the study is locked."""
    mine = instance.c.study_instance_uid == study_instance_uid
    if not times or not connection.scalar(sa.select(sa.exists().where(mine, instance.c.deleted_at.is_not(None)))):
        return
    changed = 0
    for digest, at in times.items():
        gone = mine, instance.c.digest == digest, instance.c.deleted_at.is_not(None)
        values = {"deleted_at": None, "came_again_at": at}
        changed += connection.execute(sa.update(instance).where(*gone).values(values)).rowcount
    if changed:
        these = study.c.study_instance_uid == study_instance_uid
        connection.execute(sa.update(study).where(these).values(images_deleted_at=None))


def _mark(connection: Connection, found: Kept, *, not_newer_than: datetime, reason: str, now: datetime) -> None:
    uid = found.study_instance_uid
    mine = instance.c.study_instance_uid == uid, instance.c.deleted_at.is_(None)
    rows = connection.execute(sa.select(instance.c.id, instance.c.header).where(*mine)).all()
    sources = [{"of_row": row.id} for row in rows if is_source(row.header)]
    connection.execute(sa.update(study).where(study.c.study_instance_uid == uid).values(images_deleted_at=now))
    if not sources:
        return
    this = instance.c.id == sa.bindparam("of_row")
    connection.execute(sa.update(instance).where(this).values(deleted_at=now), sources)
    row = {"whole": False, "decided_at": now, "not_newer_than": not_newer_than, "actor": ACTOR, "reason": reason}
    insert_new(connection, deletion, [{"study_instance_uid": uid, **row}])
    line = history.line(uid, "study", uid, time=now, actor=ACTOR, what="images_deleted", cause=reason)
    history.write(connection, [line])
    audit.append(
        connection, deleted_event(uid, AuditType.IMAGES_DELETED, ACTOR, {"images": str(len(sources))}), now=now
    )


def deleted_event(
    study_instance_uid: str, kind: AuditType, actor: str, details: dict[str, str], *others: AuditObject
) -> AuditEvent:
    """Study Deleted (PS3.15 A.5.3.9); of the patient it tells the study's UID and, among the others, a keyed digest."""
    about = AuditObject(kind=AuditObjectKind.STUDY, object_id=study_instance_uid, details=details)
    return audited(kind, AuditActor(name=actor), objects=(about, *others))


def _marked(connection: Connection, study_instance_uid: str) -> tuple[str, ...]:
    mine = instance.c.study_instance_uid == study_instance_uid, instance.c.deleted_at.is_not(None)
    return tuple(connection.scalars(sa.select(instance.c.digest).where(*mine).order_by(instance.c.id)))


def _untouched(connection: Connection, uids: Sequence[str], before: datetime, now: datetime) -> list[str]:
    """Of studies without images: those that nobody did anything with since then, and that nothing holds.

    That nobody marked one as read was for the images to mind.
    """
    newest, holding = touched(connection, uids), held(connection, uids, now=now)
    came = sa.func.coalesce(instance.c.came_again_at, instance.c.received_at) > before
    these = sa.select(instance.c.study_instance_uid).where(instance.c.study_instance_uid.in_(uids), came)
    arrived = set(connection.scalars(these.distinct()))
    free = (uid for uid in uids if not holding.get(uid, frozenset()) - {Hold.UNREAD})
    return [uid for uid in free if uid not in arrived and (uid not in newest or newest[uid] <= before)]
