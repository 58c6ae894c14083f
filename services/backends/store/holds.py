"""Studies whose images are kept: since when, and what still needs them. For retention; reads only."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store.board import LISTED
from services.backends.store.commitments import AWAITS_COMMITMENT
from services.backends.store.tables import (
    assignment,
    blind_hold,
    board,
    delivery,
    instance,
    job,
    requested_instance,
    result,
    study,
    study_version,
    training_case,
    training_round,
    verdict,
    verdict_document_owed,
)
from services.backends.store.withheld import runs
from services.triage.job import JobState
from services.triage.result import DeliveryState
from services.triage.retention import Hold, Kept
from services.triage.study import StudyState
from services.triage.training import HELD_FOR

Place = tuple[datetime, str]
"""Of a study among those that are kept: when its first instance came, and its UID."""


def kept(
    connection: Connection, *, received_before: datetime, after: Place | None, limit: int, now: datetime
) -> tuple[list[Kept], Place | None]:
    """So many studies with images here, by their first instance; and the place to go on from, None at the end."""
    order = study.c.received_at, study.c.study_instance_uid
    found = sa.select(*order).where(study.c.images_deleted_at.is_(None), study.c.received_at <= received_before)
    if after is not None:
        # two comparisons: SQLite would not use its index for a pair whose first is a time as text
        at, uid = after
        later = sa.and_(study.c.received_at == at, study.c.study_instance_uid > uid)
        found = found.where(study.c.received_at >= at, sa.or_(study.c.received_at > at, later))
    rows = connection.execute(found.order_by(*order).limit(limit)).all()
    place = (rows[-1].received_at, rows[-1].study_instance_uid) if len(rows) == limit else None
    return described(connection, [row.study_instance_uid for row in rows], now=now), place


def described(connection: Connection, uids: Sequence[str], *, now: datetime) -> list[Kept]:
    """What is known of studies of which some images are here, in their order."""
    images = _images(connection, uids)
    owners = sa.select(study.c.study_instance_uid, study.c.tenant).where(study.c.study_instance_uid.in_(uids))
    tenants = {row.study_instance_uid: row.tenant for row in connection.execute(owners)}
    since, holds = touched(connection, uids), held(connection, uids, now=now)
    return [
        Kept(
            study_instance_uid=uid,
            tenant=tenants[uid],
            since=max(images[uid].newest, since.get(uid, images[uid].newest)),
            images=images[uid].images,
            size_bytes=int(images[uid].size_bytes or 0),
            unsized=images[uid].images - images[uid].sized,
            holds=holds.get(uid, frozenset()),
        )
        for uid in uids
        if uid in images
    ]


def held(connection: Connection, uids: Sequence[str], *, now: datetime) -> dict[str, frozenset[Hold]]:
    """By study, what still needs it; those that nothing needs are left out."""
    found: dict[str, set[Hold]] = {}
    for hold, rows in _holding(uids, now).items():
        for uid in connection.scalars(rows):
            found.setdefault(uid, set()).add(hold)
    return {uid: frozenset(holds) for uid, holds in found.items()}


def touched(connection: Connection, uids: Sequence[str]) -> dict[str, datetime]:
    """When a result was last frozen, an answer given, or the study taken or read."""
    newest: dict[str, datetime] = {}
    for column in (result.c.frozen_at, verdict.c.given_at, assignment.c.at):
        uid = column.table.c.study_instance_uid
        rows = connection.execute(
            sa.select(uid, sa.func.max(column, type_=column.type)).where(uid.in_(uids)).group_by(uid)
        )
        for found, at in rows:
            newest[found] = max(at, newest.get(found, at))
    return newest


def _images(connection: Connection, uids: Sequence[str]) -> dict[str, sa.Row[Any]]:
    """How many images are here, when the newest came, and how large they are."""
    came = sa.func.coalesce(instance.c.came_again_at, instance.c.received_at)
    rows = connection.execute(
        sa.select(
            instance.c.study_instance_uid,
            sa.func.count().label("images"),
            sa.func.max(came, type_=instance.c.received_at.type).label("newest"),
            sa.func.sum(instance.c.size_bytes).label("size_bytes"),
            sa.func.count(instance.c.size_bytes).label("sized"),
        )
        .where(instance.c.study_instance_uid.in_(uids), instance.c.deleted_at.is_(None))
        .group_by(instance.c.study_instance_uid)
    )
    return {row.study_instance_uid: row for row in rows}


def _holding(uids: Sequence[str], now: datetime) -> dict[Hold, sa.Select[Any]]:
    """By what holds them: those of the studies that it holds."""

    def of(table: sa.Table, *where: sa.ColumnElement[bool]) -> sa.Select[Any]:
        return sa.select(table.c.study_instance_uid).where(table.c.study_instance_uid.in_(uids), *where).distinct()

    return {
        Hold.RECEIVING: of(study_version, study_version.c.state == StudyState.RECEIVING),
        Hold.IN_WORK: of(job, job.c.state.in_([JobState.QUEUED, JobState.ANALYSING])),
        Hold.UNDELIVERED: of(delivery, delivery.c.state == DeliveryState.PENDING),
        Hold.UNCOMMITTED: of(delivery, AWAITS_COMMITMENT),
        Hold.WITHHELD: of(blind_hold, *runs(now)),
        Hold.UNDOCUMENTED: of(verdict_document_owed),
        Hold.PROMISED: _promised(uids),
        Hold.TRAINING: _in_training(uids, now),
        Hold.UNREAD: of(board, sa.not_(board.c.is_read), board.c.state.in_(sorted(LISTED))),
    }


def _in_training(uids: Sequence[str], now: datetime) -> sa.Select[Any]:
    """What a learner has begun and not answered; a round that nobody goes on with holds for a time only."""
    of_round = sa.and_(
        training_round.c.round_id == training_case.c.round_id, training_round.c.created_at > now - HELD_FOR
    )
    open_still = sa.exists().where(of_round), training_case.c.answer.is_(None)
    mine = training_case.c.study_instance_uid
    return sa.select(mine).where(mine.in_(uids), *open_still).distinct()


def _promised(uids: Sequence[str]) -> sa.Select[Any]:
    asked = requested_instance.c.sop_instance_uid == instance.c.sop_instance_uid
    undecided = sa.exists().where(asked, sa.not_(requested_instance.c.decided))
    return sa.select(instance.c.study_instance_uid).where(instance.c.study_instance_uid.in_(uids), undecided).distinct()


def chunks(values: Sequence[str], size: int = 500) -> list[Sequence[str]]:
    """Pieces that go into one statement."""
    return [values[start : start + size] for start in range(0, len(values), size)]
