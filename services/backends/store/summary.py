"""The board: per study, the one line that the work list sorts and shows, derived from everything else."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store.board import ShownState, ai_says
from services.backends.store.detail import reason_of
from services.backends.store.engine import places_held
from services.backends.store.flagging import flagged
from services.backends.store.notifications import IS_NOTIFICATION
from services.backends.store.reading_state import reading_in
from services.backends.store.tables import board, delivery, instance, job, recall, result, study, study_version
from services.backends.store.withheld import switched_off
from services.triage.finding import Flag, Outcome
from services.triage.identity import NOT_AGREED
from services.triage.job import JobState, OrderPriority
from services.triage.organ import NO_TUMOUR_CLASS
from services.triage.reading import ReadingState, rank
from services.triage.result import RECALLED, DeliveryState
from services.triage.study import StudyState

# in the place of a score: that a model measured organs does not hide that another did not look
NO_SCORE, ORGANS_LAST = 1.0, 2.0
URGENCY = {Flag.URGENT: 0, Flag.ELEVATED: 1, Flag.ROUTINE: 2}
_NO_IMAGES = ("no_images", "no image that can be analysed has arrived")
# As in `ShownState`: the first of these that any result has stands for the study.
_WORST_FIRST = {Outcome.FAILED: ShownState.FAILED, Outcome.NOT_ANALYSED: ShownState.NOT_ANALYSED}


def refresh(connection: Connection, study_instance_uid: str) -> None:
    """Derive the study's line again; part of every transaction that changes the study."""
    places_held(connection)
    mine = instance.c.study_instance_uid == study_instance_uid
    received_at = connection.scalars(
        sa.select(study.c.received_at).where(study.c.study_instance_uid == study_instance_uid)
    ).one()
    newest = connection.execute(
        sa.select(study_version)
        .where(study_version.c.study_instance_uid == study_instance_uid)
        .order_by(study_version.c.number.desc())
        .limit(1)
    ).first()
    totals = connection.execute(
        sa.select(
            sa.func.count(sa.distinct(instance.c.sop_instance_uid)).label("instances"),
            sa.func.count(sa.distinct(instance.c.series_instance_uid)).label("series"),
            sa.func.max(instance.c.received_at).label("last"),
        ).where(mine)
    ).one()
    results = _newest_results(connection, study_instance_uid)
    valid = [one for one in results if not one.recalled]
    reported = _already_reported(connection, valid[0]) if valid else []
    leading = min(valid or results, key=leading_first, default=None)
    recalled = bool(results) and not valid
    state, reason = _state(connection, newest, valid, recalled=recalled)
    placing = sorted(reported or valid, key=leading_first)
    place, since = _place(newest, placing, received_at), flagged(connection, placing)
    values = {
        "state": state,
        "already_reported": bool(reported),
        "received_at": received_at,
        "last_instance_at": totals.last,
        "version": newest.number if newest else 0,
        "modalities": _modalities(connection, study_instance_uid),
        "series_count": totals.series,
        "instance_count": totals.instances,
        "completed_at": newest.completed_at if newest else None,
        "reason_code": reason[0] if reason else None,
        "reason_text": reason[1] if reason else None,
        **_leading(leading, state, recalled=recalled),
        **place,
        **since,
        **_reading(connection, newest, study_instance_uid, _flagged_at(place, since)),
    }
    connection.execute(sa.delete(board).where(board.c.study_instance_uid == study_instance_uid))
    connection.execute(sa.insert(board).values(study_instance_uid=study_instance_uid, **values))


def _leading(leading: sa.Row[Any] | None, state: ShownState, *, recalled: bool) -> dict[str, Any]:
    """The board's columns of the result that stands for the study."""
    outcome, flag = (Outcome(leading.outcome), Flag(leading.flag)) if leading else (None, None)
    reason = reason_of(leading.reason_code, leading.reason_text) if leading else None
    return {
        "result_id": leading.result_id if leading else None,
        "model_name": leading.model_name if leading else None,
        "ai_says": ai_says(state, outcome, flag, reason, recalled=recalled),
    }


def _place(newest: sa.Row[Any] | None, placing: Sequence[Any], received_at: datetime) -> dict[str, Any]:
    """The board's columns of the study's place in the list, which these results give it."""
    priority = OrderPriority(newest.priority if newest and newest.priority is not None else OrderPriority.ROUTINE)
    counted = [one for one in placing if not one.switched_off]
    urgency = min((URGENCY[Flag(one.flag)] for one in counted), default=URGENCY[Flag.ROUTINE])
    return {"priority": priority, "urgency": urgency, "rank": rank(priority, urgency, received_at)}


def _flagged_at(place: dict[str, Any], since: dict[str, datetime | None]) -> datetime | None:
    return since["flagged_at"] if place["urgency"] < URGENCY[Flag.ROUTINE] else None


def _reading(
    connection: Connection, newest: sa.Row[Any] | None, study_instance_uid: str, flagged_at: datetime | None
) -> dict[str, Any]:
    """The board's columns of who has taken or read the study."""
    reading = reading_in(connection, newest, study_instance_uid, flagged_at)
    return {
        "is_read": reading.state is ReadingState.READ,
        "reader": reading.reader or None,
        "reader_since": reading.since,
        "read_again": reading.again,
    }


def _state(
    connection: Connection, newest: sa.Row[Any] | None, results: Sequence[sa.Row[Any]], *, recalled: bool
) -> tuple[ShownState, tuple[str, str] | None]:
    """The shown state, and the reason that goes with it. recalled: there are results, and none of them counts."""
    refusals = [(r.reason_code, r.reason_text) for r in sorted(results, key=_refusal_rank) if r.reason_code]
    reason = refusals[0] if refusals else (RECALLED.code, RECALLED.text) if recalled else None
    if newest is None:
        return ShownState.OUT_OF_SCOPE, _NO_IMAGES
    if newest.state == StudyState.RECEIVING:
        return ShownState.RECEIVING, reason
    if newest.out_of_scope_code is not None:
        return ShownState.OUT_OF_SCOPE, (newest.out_of_scope_code, newest.out_of_scope_text)
    states = set(
        connection.scalars(
            sa.select(job.c.state).where(
                job.c.study_instance_uid == newest.study_instance_uid, job.c.version == newest.number
            )
        )
    )
    if not states and results:
        reason = NOT_AGREED.code, NOT_AGREED.text
    for state, shown in ((JobState.ANALYSING, ShownState.ANALYSING), (JobState.QUEUED, ShownState.QUEUED)):
        if state in states:
            return shown, reason
    outcomes = {Outcome(r.outcome) for r in results}
    for outcome, shown in _WORST_FIRST.items():
        if outcome in outcomes:
            return shown, reason
    return ShownState.ANALYSED, reason


def _newest_results(connection: Connection, study_instance_uid: str) -> list[Any]:
    """The results of the newest version that has any: an urgent study stays on top while its next version is made."""
    newest = (
        sa.select(sa.func.max(result.c.version))
        .where(result.c.study_instance_uid == study_instance_uid)
        .scalar_subquery()
    )
    return _results(connection, study_instance_uid, result.c.version == newest)


def _already_reported(connection: Connection, newest: sa.Row[Any]) -> list[Any]:
    """The results of the first earlier version with the same images of which one was delivered; none that was recalled.

    Whoever reads the study has had them. A new look at the same images, or the same result under another name, does
    not bring the study up again, nor does it take away the place that it has.
    """
    uid = newest.study_instance_uid
    since = connection.scalar(
        sa.select(study_version.c.images_since).where(
            study_version.c.study_instance_uid == uid, study_version.c.number == newest.version
        )
    )
    if since is None or since == newest.version:
        return []
    arrived = (
        delivery.c.state.in_([DeliveryState.SENT, DeliveryState.COMMITTED]),
        sa.not_(delivery.c.note),
        sa.not_(IS_NOTIFICATION),
    )
    first = connection.scalar(
        sa.select(sa.func.min(result.c.version))
        .join(delivery, delivery.c.result_id == result.c.result_id)
        .outerjoin(recall, recall.c.result_id == result.c.result_id)
        .where(
            result.c.study_instance_uid == uid,
            result.c.version.between(since, newest.version - 1),
            recall.c.result_id.is_(None),
            *arrived,
        )
    )
    return [one for one in _results(connection, uid, result.c.version == first) if not one.recalled]


def _results(connection: Connection, study_instance_uid: str, *where: sa.ColumnElement[bool]) -> list[Any]:
    rows = connection.execute(
        sa.select(result, recall.c.result_id.is_not(None).label("recalled"), switched_off().label("switched_off"))
        .outerjoin(recall, recall.c.result_id == result.c.result_id)
        .where(result.c.study_instance_uid == study_instance_uid, *where)
        .order_by(result.c.frozen_at, result.c.result_id)
    )
    return list(rows)


def leading_first(row: sa.Row[Any]) -> tuple[bool, int, float]:
    """Highest flag first, then highest score, then what was not analysed, organs alone; last what is switched off."""
    no_score = ORGANS_LAST if row.reason_code == NO_TUMOUR_CLASS.code else NO_SCORE
    return row.switched_off, URGENCY[Flag(row.flag)], no_score if row.score is None else -row.score


def _refusal_rank(row: sa.Row[Any]) -> tuple[bool, bool]:
    """Failures first; last that a model looks for no lesions: nothing went wrong there."""
    return row.outcome != Outcome.FAILED, row.reason_code == NO_TUMOUR_CLASS.code


def _modalities(connection: Connection, study_instance_uid: str) -> tuple[str, ...]:
    """Of all series, from the first instance of each."""
    firsts = (
        sa.select(sa.func.min(instance.c.id))
        .where(instance.c.study_instance_uid == study_instance_uid)
        .group_by(instance.c.series_instance_uid)
    )
    headers = connection.scalars(sa.select(instance.c.header).where(instance.c.id.in_(firsts)))
    return tuple(sorted({header.modality for header in headers if header.modality}))
