"""Blind-first mode: which results are withheld, since when, and what ended it. `SqlStudyStore.holds` is one.

Whether a result is withheld is decided once, in the transaction that freezes it, and written down.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from services.backends.store import history, reviews
from services.backends.store.engine import locked, reading, writing
from services.backends.store.tables import blind_hold, result
from services.backends.store.withheld import runs
from services.triage.blind import BlindPolicy, Hold, HoldEnd
from services.triage.finding import Outcome
from services.triage.job import OrderPriority
from services.triage.workitem import asks_for_review

_ENDED = {
    HoldEnd.READ: "own assessment given",
    HoldEnd.EXPIRED: "read without blind assessment",
    HoldEnd.SWITCHED_OFF: "blind-first mode is off",
}


class Holds:
    """What the desk and the dispatcher may ask. Raises StoreUnavailable."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

    def of_study(self, study_instance_uid: str) -> tuple[Hold, ...]:
        """All that there were, oldest first."""
        with reading(self._engine) as connection:
            return of_study(connection, study_instance_uid)

    def withheld(self, study_instance_uids: Collection[str]) -> frozenset[str]:
        """Those of these studies of which a result is withheld now."""
        held = sa.select(result.c.study_instance_uid).join(blind_hold, blind_hold.c.result_id == result.c.result_id)
        of_these = result.c.study_instance_uid.in_(sorted(study_instance_uids))
        with reading(self._engine) as connection:
            return frozenset(connection.scalars(held.where(of_these, *runs(self._clock()))))

    def counts(self) -> dict[str, int]:
        """How many run ('held'), and how many have ended in each way (`HoldEnd`)."""
        is_over = blind_hold.c.until <= self._clock()
        how = sa.case(
            (blind_hold.c.ended_how.is_not(None), blind_hold.c.ended_how),
            (is_over, HoldEnd.EXPIRED.value),
            else_="held",
        )
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(how, sa.func.count()).group_by(how))
            found = {state: int(count) for state, count in rows}
        return {name: found.get(name, 0) for name in ("held", *(end.value for end in HoldEnd))}

    def expire(self, *, now: datetime) -> int:
        """Write down which holds have ended by themselves. How many there were."""
        over = blind_hold.c.ended_at.is_(None), blind_hold.c.until <= now
        return self._end_all(over, HoldEnd.EXPIRED, now=now)

    def switch_off(self, *, now: datetime) -> int:
        """End every hold: blind-first mode is off. How many there were."""
        return self._end_all((blind_hold.c.ended_at.is_(None),), HoldEnd.SWITCHED_OFF, now=now)

    def _end_all(self, which: Sequence[sa.ColumnElement[bool]], end: HoldEnd, *, now: datetime) -> int:
        # a look without the write lock first: an idle dispatcher disturbs nobody
        with reading(self._engine) as connection:
            uids = sorted(set(connection.scalars(sa.select(blind_hold.c.study_instance_uid).where(*which))))
        if not uids:
            return 0
        with writing(self._engine) as connection:
            locked(connection, uids)
            rows = connection.execute(
                sa.select(blind_hold).where(*which, blind_hold.c.study_instance_uid.in_(uids))
            ).all()
            for row in rows:
                # one whose time was up before it was switched off has expired
                how = HoldEnd.EXPIRED if row.until <= now else end
                _end(connection, row, how, by="", at=min(now, row.until))
        return len(rows)


def decide(
    connection: Connection,
    result_id: str,
    policy: BlindPolicy,
    *,
    tenant: str,
    priority: OrderPriority,
    actor: str,
    now: datetime,
) -> bool:
    """Whether a result that was just frozen is withheld; what its model said of the study before and was seen, stays.

    A newer result of a model whose earlier one is withheld is withheld as long as that, and no longer. Of a study that
    a reader has assessed nothing more is: they have seen what the AI says, of whichever model.
    """
    this = connection.execute(sa.select(result).where(result.c.result_id == result_id)).one()
    length = policy.hold_for(
        this.study_instance_uid,
        tenant=tenant,
        model_name=this.model_name,
        priority=priority,
        outcome=Outcome(this.outcome),
    )
    earlier = _earlier(connection, this)
    seen = [row for row in earlier if row.until is None or row.ended_at is not None or row.until <= now]
    asked = earlier or length is not None
    if seen or not asked or not Outcome(this.outcome).analysed or _was_read(connection, this.study_instance_uid):
        return False
    until = min((row.until for row in earlier), default=now + (length or timedelta(0)))
    uid = this.study_instance_uid
    connection.execute(
        sa.insert(blind_hold).values(result_id=result_id, study_instance_uid=uid, since=now, until=until)
    )
    told = history.line(
        uid, "job", this.job_id, time=now, actor=actor, what="blind_hold", cause=f"until {until:%H:%M} UTC"
    )
    history.write(connection, [told])
    return True


def held_now(connection: Connection, study_instance_uid: str, *, now: datetime) -> set[str]:
    """The results of a study that are withheld."""
    mine = blind_hold.c.study_instance_uid == study_instance_uid
    return set(connection.scalars(sa.select(blind_hold.c.result_id).where(mine, *runs(now))))


def end_by_read(connection: Connection, result_id: str, *, reader: str, now: datetime) -> bool:
    """A reader has assessed the study: all that the AI says of it is shown. False: this result was shown before.

    Of every model: who has seen what one says does not read blind any more.
    """
    this = blind_hold.alias()
    its_study = sa.select(this.c.study_instance_uid).where(this.c.result_id == result_id).scalar_subquery()
    rows = connection.execute(
        sa.select(blind_hold).where(blind_hold.c.study_instance_uid == its_study, *runs(now))
    ).all()
    if result_id not in {row.result_id for row in rows}:
        return False
    for row in rows:
        _end(connection, row, HoldEnd.READ, by=reader, at=now)
    return True


def _was_read(connection: Connection, study_instance_uid: str) -> bool:
    mine = blind_hold.c.study_instance_uid == study_instance_uid
    return bool(connection.scalar(sa.select(sa.exists().where(mine, blind_hold.c.ended_how == HoldEnd.READ))))


def of_study(connection: Connection, study_instance_uid: str) -> tuple[Hold, ...]:
    """See `Holds.of_study`."""
    mine = blind_hold.c.study_instance_uid == study_instance_uid
    rows = connection.execute(sa.select(blind_hold).where(mine).order_by(blind_hold.c.since, blind_hold.c.result_id))
    return tuple(hold_of(row) for row in rows)


def hold_of(row: sa.Row[Any]) -> Hold:
    """The hold of a row of its table."""
    return Hold(
        result_id=row.result_id,
        study_instance_uid=row.study_instance_uid,
        since=row.since,
        until=row.until,
        ended_at=row.ended_at,
        end=HoldEnd(row.ended_how) if row.ended_how else None,
        ended_by=row.ended_by,
    )


def _earlier(connection: Connection, this: sa.Row[Any]) -> Sequence[Any]:
    """What the same model said of the study when it looked, each with its hold where it had one."""
    return connection.execute(
        sa.select(blind_hold.c.until, blind_hold.c.ended_at)
        .select_from(result)
        .outerjoin(blind_hold, blind_hold.c.result_id == result.c.result_id)
        .where(
            result.c.study_instance_uid == this.study_instance_uid,
            result.c.model_name == this.model_name,
            result.c.result_id != this.result_id,
            result.c.outcome.in_([one for one in Outcome if one.analysed]),
        )
    ).all()


def _end(connection: Connection, row: sa.Row[Any], end: HoldEnd, *, by: str, at: datetime) -> None:
    connection.execute(
        sa.update(blind_hold)
        .where(blind_hold.c.result_id == row.result_id)
        .values(ended_at=at, ended_how=end, ended_by=by)
    )
    this = connection.execute(sa.select(result).where(result.c.result_id == row.result_id)).one()
    told = history.line(
        row.study_instance_uid, "job", this.job_id, time=at, actor=by or "store", what=f"blind_{end}", cause=_ENDED[end]
    )
    history.write(connection, [told])
    if not asks_for_review(Outcome(this.outcome)):
        why = "the AI's result asks for no review"
        # who claimed it reads the study, and may complete the task
        reviews.withdraw(connection, row.result_id, why, actor=by or "store", now=at, claimed=False)
