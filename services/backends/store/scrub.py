"""Looking for what was acknowledged and is no longer there: every instance that the store knows, in turns, for ever.

`SqlStudyStore.scrub` is one. It measures the promise that no acknowledged instance is lost; it mends nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from services.backends.store.engine import insert_new, put, reading, writing
from services.backends.store.tables import instance, lost_file, scrub

_TURN = "turn"


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """An instance whose file should be there. serial: its place in the order of the search."""

    serial: int
    digest: str
    study_instance_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost(Expected):
    """One whose file is not. fault: `missing`, or `damaged`: its bytes are not those that were kept."""

    fault: str
    found_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Scrubbed:
    """What the search has found. checked, read: files looked for, and read to the last byte, ever.

    round_finished_at: when every instance had been looked for the last time. lost: by fault.
    """

    checked: int = 0
    read: int = 0
    round_finished_at: datetime | None = None
    lost: Mapping[str, int] = field(default_factory=dict)


class Scrub:
    """The place of the search, and what was not found. Raises StoreUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def take_turn(self, *, now: datetime, interval: timedelta) -> bool:
        """Be the one who looks now; everybody else, and we too, wait for the interval."""
        with reading(self._engine) as connection:
            next_at = connection.scalar(sa.select(scrub.c.next_at))
        if next_at is not None and next_at > now:
            return False
        with writing(self._engine) as connection:
            first = {"turn": _TURN, "next_at": now, "after_id": 0, "checked": 0, "read": 0}
            insert_new(connection, scrub, [first])
            due = sa.update(scrub).where(scrub.c.turn == _TURN, scrub.c.next_at <= now)
            return connection.execute(due.values(next_at=now + interval)).rowcount == 1

    def expected(self, *, limit: int) -> list[Expected]:
        """The next ones to look for; none: the round is over."""
        with reading(self._engine) as connection:
            after = connection.scalar(sa.select(scrub.c.after_id)) or 0
            rows = connection.execute(
                sa.select(instance.c.id, instance.c.digest, instance.c.study_instance_uid, instance.c.sop_instance_uid)
                .where(instance.c.id > after, instance.c.deleted_at.is_(None))
                .order_by(instance.c.id)
                .limit(limit)
            )
            return [
                Expected(
                    serial=row.id,
                    digest=row.digest,
                    study_instance_uid=row.study_instance_uid,
                    sop_instance_uid=row.sop_instance_uid,
                )
                for row in rows
            ]

    def note(self, looked_for: Sequence[Expected], faults: Mapping[str, str], *, read: int, now: datetime) -> list[str]:
        """These were looked for; faults: by digest. Answers the digests of those that are lost and were not before."""
        with writing(self._engine) as connection:
            # of what was deleted meanwhile nobody expects a file
            here = instance.c.digest.in_(faults), instance.c.deleted_at.is_(None)
            faults = {
                digest: faults[digest] for digest in connection.scalars(sa.select(instance.c.digest).where(*here))
            }
            known = set(connection.scalars(sa.select(lost_file.c.digest)))
            _keep_lost(connection, looked_for, faults, now)
            values = {
                "after_id": looked_for[-1].serial if looked_for else 0,
                "checked": scrub.c.checked + len(looked_for),
                "read": scrub.c.read + read,
            }
            if not looked_for:
                values["round_finished_at"] = now
            connection.execute(sa.update(scrub).values(values))
        return [digest for digest in faults if digest not in known]

    def state(self) -> Scrubbed:
        """What was found so far."""
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(scrub)).first()
            counted = sa.select(lost_file.c.fault, sa.func.count()).group_by(lost_file.c.fault)
            lost = {fault: int(count) for fault, count in connection.execute(counted)}
        if row is None:
            return Scrubbed(lost=lost)
        return Scrubbed(checked=row.checked, read=row.read, round_finished_at=row.round_finished_at, lost=lost)

    def lost(self, *, limit: int = 1000) -> list[Lost]:
        """What is lost, as last looked for."""
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(lost_file).order_by(lost_file.c.found_at).limit(limit))
            return [Lost(serial=0, **row._mapping) for row in rows]


def _keep_lost(
    connection: Connection, looked_for: Sequence[Expected], faults: Mapping[str, str], now: datetime
) -> None:
    # found again (a volume that was not mounted), or not to be kept any more
    found = [one.digest for one in looked_for if one.digest not in faults]
    still_here = instance.c.digest == lost_file.c.digest, instance.c.deleted_at.is_(None)
    gone = lost_file.c.digest.not_in(sa.select(instance.c.digest).where(*still_here))
    connection.execute(sa.delete(lost_file).where(sa.or_(lost_file.c.digest.in_(found), gone)))
    rows = {
        one.digest: {
            "digest": one.digest,
            "study_instance_uid": one.study_instance_uid,
            "sop_instance_uid": one.sop_instance_uid,
            "fault": faults[one.digest],
            "found_at": now,
        }
        for one in looked_for
        if one.digest in faults
    }
    put(connection, lost_file, list(rows.values()))
