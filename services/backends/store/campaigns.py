"""Recalls of a period: `SqlStudyStore.campaigns` is one.

What is left to do is what is not recalled yet, so that a campaign goes on after a kill where it was, and doing a result
twice changes nothing.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from services.backends.store import audit_events
from services.backends.store.engine import reading, writing
from services.backends.store.tables import delivery, recall, recall_campaign, result
from services.backends.store.withheld import LOOKED, tenant_of
from services.triage.result import DeliveryState
from services.triage.switch import EVERY, Campaign, ModelScope, Period

Place = tuple[datetime, str]
"""Of a result in its campaign: when it was frozen, and its id."""


class Campaigns:
    """What the desk may ask, and whoever carries them out. Raises StoreUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def count(self, scope: ModelScope, period: Period) -> int:
        """How many results a campaign would recall now."""
        with reading(self._engine) as connection:
            return _count(connection, scope, period)

    def ask(self, scope: ModelScope, period: Period, *, reason: str, actor: str, now: datetime) -> Campaign:
        """Ask for it; from now on nothing of the period is sent."""
        with writing(self._engine) as connection:
            return ask(connection, scope, period, reason=reason, actor=actor, now=now)

    def listed(self, *, limit: int = 50) -> tuple[Campaign, ...]:
        """All, the newest first, with how far each is."""
        with reading(self._engine) as connection:
            newest = sa.select(recall_campaign).order_by(recall_campaign.c.asked_at.desc()).limit(limit)
            return tuple(_campaign(connection, row) for row in connection.execute(newest).all())

    def get(self, campaign_id: str) -> Campaign | None:
        """One, None if it is unknown."""
        with reading(self._engine) as connection:
            row = connection.execute(_row(campaign_id)).first()
            return None if row is None else _campaign(connection, row)

    def unfinished(self) -> int:
        """How many are not done."""
        open_ones = sa.select(sa.func.count()).where(recall_campaign.c.finished_at.is_(None))
        with reading(self._engine) as connection:
            return int(connection.scalar(open_ones) or 0)

    def claim(self, *, now: datetime, duration: timedelta) -> tuple[Campaign, str] | None:
        """The oldest that nobody goes on with, and the claim on it; None: there is none."""
        if not self.unfinished():  # a look without the write lock: an idle process disturbs nobody
            return None
        expired = recall_campaign.c.claim_expires_at <= now
        free = recall_campaign.c.finished_at.is_(None), sa.or_(recall_campaign.c.claim.is_(None), expired)
        oldest = sa.select(recall_campaign).where(*free).order_by(recall_campaign.c.asked_at).limit(1)
        with writing(self._engine) as connection:
            row = connection.execute(oldest.with_for_update(skip_locked=True)).first()
            if row is None:
                return None
            mine = uuid4().hex
            this = recall_campaign.c.campaign_id == row.campaign_id
            connection.execute(
                sa.update(recall_campaign).where(this).values(claim=mine, claim_expires_at=now + duration)
            )
            return _campaign(connection, row), mine

    def left(self, campaign: Campaign, *, after: Place | None, limit: int) -> list[Place]:
        """Results that are not recalled yet, in the order of freezing, behind a place."""
        where = (*_results(campaign.scope, campaign.period), sa.not_(_is_recalled()))
        places = sa.select(result.c.frozen_at, result.c.result_id).where(*where)
        if after is not None:
            at, result_id = after
            later = sa.and_(result.c.frozen_at == at, result.c.result_id > result_id)
            places = places.where(sa.or_(result.c.frozen_at > at, later))
        with reading(self._engine) as connection:
            found = connection.execute(places.order_by(result.c.frozen_at, result.c.result_id).limit(limit))
            return [(row.frozen_at, row.result_id) for row in found]

    def go_on(self, campaign_id: str, claim: str, *, now: datetime, duration: timedelta, trouble: str = "") -> bool:
        """Renew the claim. False: it is another's now."""
        values = {"claim_expires_at": now + duration, "trouble": trouble}
        return self._change(campaign_id, claim, values)

    def finish(self, campaign_id: str, claim: str, *, now: datetime) -> bool:
        """All is recalled. False: the claim is another's now."""
        return self._change(campaign_id, claim, {"finished_at": now, "trouble": "", "claim": None})

    def _change(self, campaign_id: str, claim: str, values: dict[str, Any]) -> bool:
        mine = recall_campaign.c.campaign_id == campaign_id, recall_campaign.c.claim == claim
        with writing(self._engine) as connection:
            return connection.execute(sa.update(recall_campaign).where(*mine).values(values)).rowcount == 1


def ask(
    connection: Connection, scope: ModelScope, period: Period, *, reason: str, actor: str, now: datetime
) -> Campaign:
    """See `Campaigns.ask`."""
    campaign_id = uuid4().hex
    connection.execute(
        sa.insert(recall_campaign).values(
            campaign_id=campaign_id,
            model_name=scope.model_name,
            model_version=scope.version,
            tenant=scope.tenant,
            frozen_since=period.since,
            frozen_until=period.until,
            kept=period.kept,
            actor=actor,
            reason=reason,
            asked_at=now,
            trouble="",
        )
    )
    campaign = _campaign(connection, connection.execute(_row(campaign_id)).one())
    audit_events.recalling(connection, campaign)
    return campaign


def _row(campaign_id: str) -> sa.Select[Any]:
    return sa.select(recall_campaign).where(recall_campaign.c.campaign_id == campaign_id)


def _campaign(connection: Connection, row: sa.Row[Any]) -> Campaign:
    scope = ModelScope(model_name=row.model_name, version=row.model_version, tenant=row.tenant)
    period = Period(since=row.frozen_since, until=row.frozen_until, kept=row.kept)
    since_asked = recall.c.recalled_at >= row.asked_at, recall.c.actor == row.actor, recall.c.reason == row.reason
    done = (
        sa.select(sa.func.count())
        .select_from(result)
        .join(recall, recall.c.result_id == result.c.result_id)
        .where(*_results(scope, Period(until=row.frozen_until)), *since_asked)
    )
    return Campaign(
        campaign_id=row.campaign_id,
        scope=scope,
        period=period,
        actor=row.actor,
        reason=row.reason,
        asked_at=row.asked_at,
        finished_at=row.finished_at,
        recalled=int(connection.scalar(done) or 0),
        left=0 if row.finished_at else _count(connection, scope, period),
        trouble=row.trouble,
    )


def _count(connection: Connection, scope: ModelScope, period: Period) -> int:
    left = sa.select(sa.func.count()).select_from(result).where(*_results(scope, period), sa.not_(_is_recalled()))
    return int(connection.scalar(left) or 0)


def _is_recalled() -> sa.ColumnElement[bool]:
    return sa.exists().where(recall.c.result_id == result.c.result_id)


def _results(scope: ModelScope, period: Period) -> Sequence[sa.ColumnElement[bool]]:
    """The results of a period in which the model looked."""
    where = [
        result.c.model_name == scope.model_name,
        result.c.frozen_at < period.until,
        result.c.outcome.in_(LOOKED),
    ]
    if scope.version != EVERY:
        where.append(result.c.model_version == scope.version)
    if scope.tenant != EVERY:
        where.append(tenant_of(result) == scope.tenant)
    if period.since is not None:
        within = result.c.frozen_at >= period.since
        waits = sa.exists().where(
            delivery.c.result_id == result.c.result_id,
            delivery.c.state == DeliveryState.PENDING,
            sa.not_(delivery.c.note),
        )
        where.append(sa.or_(within, waits) if period.kept else within)
    return where
