"""What is frozen and must not be seen or must not leave yet; delivery, DICOMweb and the desk's pages ask here.

What says that nobody looked (not analysed, failed) always leaves, and so does what takes a result back.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from services.backends.store.tables import blind_hold, delivery, model_off, recall_campaign, result, study
from services.triage.finding import Outcome
from services.triage.result import ABANDONED, WITHDRAWN, DeliveryState
from services.triage.switch import EVERY

LOOKED = tuple(outcome for outcome in Outcome if outcome.analysed)
"""Outcomes of a model that looked."""


def _given_up_as(codes: Collection[str]) -> sa.ColumnElement[bool]:
    return sa.and_(
        delivery.c.state == DeliveryState.GIVEN_UP,
        delivery.c.reason_code.is_not(None),  # else null, and so is `not_` of it
        delivery.c.reason_code.in_(sorted(codes)),
    )


IS_WITHDRAWN = _given_up_as(WITHDRAWN)
"""Of a delivery: it was given up for good, since what it brings is not to be sent any more."""

NEEDS_NOBODY = _given_up_as(WITHDRAWN | {ABANDONED})
"""Of a delivery: it was given up so, or by a person since its destination is there no more."""

# made once: an alias takes longer to make than a small query to answer
_SAID, _OWNER = result.alias("said"), study.alias("owner")


def is_held(result_id: Any, now: datetime) -> sa.ColumnElement[bool]:
    """Of a column of result ids: its result is withheld until a reader has assessed the study, or its time is up."""
    return sa.exists().where(blind_hold.c.result_id == result_id, *runs(now))


def runs(now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    """Of a hold: it withholds. It ends by itself at its time, whether or not anybody has written that down."""
    return blind_hold.c.ended_at.is_(None), blind_hold.c.until > now


def may_leave(now: datetime, of: Any = delivery) -> sa.ColumnElement[bool]:
    """Of a delivery: nothing withholds its result at this time. What is of no result, a reader's document, may."""
    withheld = sa.or_(is_held(of.c.result_id, now), sa.and_(sa.not_(of.c.note), kept_back(of.c.result_id)))
    return sa.or_(of.c.result_id.is_(None), sa.not_(withheld))


def kept_back(result_id: Any) -> sa.ColumnElement[bool]:
    """Of a result, by a column with its id: its model is switched off, or it is about to be recalled."""
    # asked once for a query, not for each row: hardly ever is anything
    anything = sa.or_(
        sa.exists(sa.select(model_off.c.model_name)),
        sa.exists(sa.select(recall_campaign.c.campaign_id).where(recall_campaign.c.finished_at.is_(None))),
    )
    this = sa.exists().where(
        _SAID.c.result_id == result_id,
        _SAID.c.outcome.in_(LOOKED),
        sa.or_(switched_off(_SAID), _about_to_be_recalled(_SAID)),
    )
    return sa.and_(anything, this)


def switched_off(of: sa.FromClause = result) -> sa.ColumnElement[bool]:
    """Of a result: its model is switched off for its study."""
    return sa.exists().where(*_in_scope(of, model_off))


def _about_to_be_recalled(of: sa.FromClause) -> sa.ColumnElement[bool]:
    """What has not gone out goes no more, once the recall of its period was asked for."""
    since = recall_campaign.c.frozen_since
    return sa.exists().where(
        *_in_scope(of, recall_campaign),
        recall_campaign.c.finished_at.is_(None),
        of.c.frozen_at < recall_campaign.c.frozen_until,
        sa.or_(since.is_(None), recall_campaign.c.kept, of.c.frozen_at >= since),
    )


def _in_scope(of: sa.FromClause, scope: sa.Table) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        scope.c.model_name == of.c.model_name,
        scope.c.model_version.in_([EVERY, of.c.model_version]),
        scope.c.tenant.in_([EVERY, tenant_of(of)]),
    )


def tenant_of(of: sa.FromClause) -> sa.ScalarSelect[str]:
    """Of a row that names a study: whose it is."""
    mine = _OWNER.c.study_instance_uid == of.c.study_instance_uid
    return sa.select(_OWNER.c.tenant).where(mine).correlate(of).scalar_subquery()
