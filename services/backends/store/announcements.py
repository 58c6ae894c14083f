"""What MPPS and IAN tell of studies, and what of it concerns a receiving version.

An announcement may come before, among or after the instances that it names. It is never used up: it concerns a version
as long as it names something that no earlier version had. So nothing has to be marked, and nothing can be marked twice.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, exc

from services.backends.store.engine import writing
from services.backends.store.tables import announcement, instance, study_version
from services.triage.completeness import Announced, Announcer
from services.triage.study import StudyState, VersionKey

KEPT = timedelta(days=7)
"""So long an announcement waits for its images."""

_CHUNK = 500  # bound variables in one statement


class State(StrEnum):
    """Performed Procedure Step Status (PS3.3 C.4.14), or what counts of Instance Availability (PS3.3 C.4.23)."""

    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"
    ONLINE = "ONLINE"
    NOT_ONLINE = "NOT ONLINE"


class Changed(StrEnum):
    """What became of a change of an MPPS."""

    DONE = "done"
    UNKNOWN = "unknown"
    FINAL = "final"
    """it is COMPLETED or DISCONTINUED: it may not be changed any more (PS3.4 F.7.2.2.2)"""


_TELLING = (State.COMPLETED, State.ONLINE)


class Announcements:
    """Each method is one transaction. Raises StoreUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(
        self,
        sop_instance_uid: str,
        study_instance_uids: Collection[str],
        *,
        announcer: Announcer,
        state: State,
        instances: Sequence[str],
        received_from: str,
        now: datetime,
    ) -> bool:
        """Keep a new MPPS or IAN. False: there is one of this SOP Instance UID, and it stays as it is.

        Those that are older than `KEPT` are forgotten: of most, in a hospital, no image ever comes here.
        """
        common = {
            "sop_instance_uid": sop_instance_uid,
            "announcer": announcer,
            "state": state,
            "instances": tuple(instances),
            "received_from": received_from,
            "received_at": now,
        }
        rows = [{**common, "study_instance_uid": uid} for uid in sorted(set(study_instance_uids))]
        known = sa.select(sa.exists().where(announcement.c.sop_instance_uid == sop_instance_uid))
        try:
            with writing(self._engine) as connection:
                connection.execute(sa.delete(announcement).where(announcement.c.received_at < now - KEPT))
                if connection.scalar(known):
                    return False
                connection.execute(sa.insert(announcement), rows)
        except exc.IntegrityError:  # another association was first by an instant
            return False
        return True

    def change_step(self, sop_instance_uid: str, *, state: State, instances: Sequence[str] | None) -> Changed:
        """Change an MPPS that is IN PROGRESS; instances: None leaves those that it named before."""
        this = announcement.c.sop_instance_uid == sop_instance_uid, announcement.c.announcer == Announcer.MPPS
        values = {"state": state} | ({} if instances is None else {"instances": tuple(instances)})
        with writing(self._engine) as connection:
            done = connection.execute(
                sa.update(announcement).where(*this, announcement.c.state == State.IN_PROGRESS).values(**values)
            )
            if done.rowcount:
                return Changed.DONE
            known = connection.scalar(sa.select(sa.exists().where(*this)))
            return Changed.FINAL if known else Changed.UNKNOWN


def receiving(connection: Connection) -> list[VersionKey]:
    """See `StudyStore.announced_versions`."""
    rows = connection.execute(
        sa.select(study_version.c.study_instance_uid, study_version.c.number)
        .where(
            study_version.c.state == StudyState.RECEIVING,
            sa.exists().where(
                announcement.c.study_instance_uid == study_version.c.study_instance_uid,
                announcement.c.state.in_(_TELLING),
            ),
        )
        .order_by(study_version.c.last_image_at)
    )
    return [VersionKey(study_instance_uid=uid, number=number) for uid, number in rows]


def announced(connection: Connection, version: VersionKey) -> Announced | None:
    """What concerns a version of all that was announced of its study; None: nothing does."""
    rows = connection.execute(
        sa.select(announcement.c.announcer, announcement.c.state, announcement.c.instances)
        .where(announcement.c.study_instance_uid == version.study_instance_uid)
        .order_by(announcement.c.received_at)
    ).all()
    telling = [row for row in rows if row.state in _TELLING and row.instances]
    named = {uid for row in telling for uid in row.instances}
    since = _since(connection, named)
    if all(since.get(uid, version.number) < version.number for uid in named):
        return None
    return Announced(
        by=Announcer(telling[-1].announcer),
        instances=len(named),
        missing=sum(uid not in since for uid in named),
        in_progress=any(row.state == State.IN_PROGRESS for row in rows),
    )


def _since(connection: Connection, sop_instance_uids: Collection[str]) -> dict[str, int]:
    """SOP Instance UID -> the first version that has it, of those that are here."""
    found: dict[str, int] = {}
    for chunk in _chunks(sorted(sop_instance_uids)):
        rows = connection.execute(
            sa.select(instance.c.sop_instance_uid, sa.func.min(instance.c.since_version))
            .where(instance.c.sop_instance_uid.in_(chunk))
            .group_by(instance.c.sop_instance_uid)
        )
        found.update((uid, since) for uid, since in rows)
    return found


def _chunks(uids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (uids[start : start + _CHUNK] for start in range(0, len(uids), _CHUNK))
