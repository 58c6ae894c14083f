"""The places that results give to studies, counted anew for all studies of a model at once.

A flag of a model that is switched off gives no place: the study falls back to its order's priority and its arrival.
What `summary.refresh` derives for one study is done here in one statement, so that it is done in the transaction that
switches the model, for however many studies.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store import summary
from services.backends.store.board import FLAGGED, OUTCOMES, AiSays
from services.backends.store.engine import places_held
from services.backends.store.tables import board, recall, result, study
from services.backends.store.withheld import LOOKED, switched_off
from services.triage.finding import Flag
from services.triage.organ import NO_TUMOUR_CLASS
from services.triage.reading import AGEING
from services.triage.switch import EVERY, ModelScope

_ROUTINE = summary.URGENCY[Flag.ROUTINE]


def recount(connection: Connection, scope: ModelScope) -> None:
    """Of every study of which the model has a result that could matter. Nobody else gives places meanwhile."""
    with _unhurried(connection):
        _recount(connection, scope)


def _recount(connection: Connection, scope: ModelScope) -> None:
    places_held(connection, alone=True)
    affected = board.c.study_instance_uid.in_(_studies(scope))
    urgency = sa.func.coalesce(_urgency(), _ROUTINE)
    connection.execute(
        sa.update(board)
        .where(affected, sa.not_(board.c.already_reported))
        .values(
            urgency=urgency,
            rank=board.c.rank + (urgency - board.c.urgency) * AGEING.total_seconds(),
            result_id=sa.func.coalesce(_leading(), board.c.result_id),
        )
        .execution_options(synchronize_session=False)
    )
    # once it is known which result leads, what it is of and says
    connection.execute(
        sa.update(board)
        .where(affected, sa.not_(board.c.already_reported))
        .values({name: sa.func.coalesce(_of_leading(told), board.c[name]) for name, told in _TOLD.items()})
        .execution_options(synchronize_session=False)
    )
    # an earlier version gives these their place: few, and not told in one statement
    again = sa.select(board.c.study_instance_uid).where(affected, board.c.already_reported)
    for uid in connection.scalars(again).all():
        summary.refresh(connection, uid)


@contextmanager
def _unhurried(connection: Connection) -> Iterator[None]:
    """However many studies it is: a switch must not fail at a time limit that is meant for everyday statements."""
    if connection.dialect.name != "postgresql":
        yield
        return
    from services.backends.store.postgresql import unhurried

    with unhurried(connection):
        yield


def _studies(scope: ModelScope) -> sa.Select[tuple[str]]:
    other = result.alias()
    another = sa.or_(other.c.model_name != result.c.model_name, other.c.model_version != result.c.model_version)
    beside = sa.exists().where(other.c.study_instance_uid == result.c.study_instance_uid, another)
    found = sa.select(result.c.study_instance_uid).where(
        result.c.model_name == scope.model_name,
        # a study that has nothing else, and no flag, stays where it is
        sa.or_(result.c.flag != Flag.ROUTINE, beside),
    )
    if scope.version != EVERY:
        found = found.where(result.c.model_version == scope.version)
    if scope.tenant != EVERY:
        of_tenant = sa.select(study.c.study_instance_uid).where(study.c.tenant == scope.tenant)
        found = found.where(result.c.study_instance_uid.in_(of_tenant))
    return found


def _placing() -> tuple[Any, tuple[sa.ColumnElement[bool], ...]]:
    """The results that may give a study of the board its place: of its newest version that has any, none recalled."""
    one, other = result.alias(), result.alias()
    newest = (
        sa.select(sa.func.max(other.c.version))
        .where(other.c.study_instance_uid == board.c.study_instance_uid)
        .correlate(board)
        .scalar_subquery()
    )
    stands = sa.not_(sa.exists().where(recall.c.result_id == one.c.result_id))
    return one, (one.c.study_instance_uid == board.c.study_instance_uid, one.c.version == newest, stands)


def _rank(one: Any) -> sa.ColumnElement[int]:
    return sa.case({flag.value: rank for flag, rank in summary.URGENCY.items()}, value=one.c.flag)


def _organs_only(one: Any) -> sa.ColumnElement[bool]:
    found: sa.ColumnElement[bool] = one.c.reason_code == NO_TUMOUR_CLASS.code
    return found


_says = sa.case(
    {outcome.value: says.value for outcome, says in OUTCOMES.items()},
    value=result.c.outcome,
    else_=sa.case({flag.value: says.value for flag, says in FLAGGED.items()}, value=result.c.flag),
)
_TOLD: dict[str, sa.ColumnElement[str]] = {
    "model_name": result.c.model_name,
    "ai_says": sa.case(
        (result.c.outcome.in_(LOOKED), _says), (_organs_only(result), AiSays.ORGANS.value), else_=AiSays.UNSEEN.value
    ),
}
"""As `board.ai_says` has it, of a result that was not recalled."""


def _of_leading(told: sa.ColumnElement[str]) -> sa.ScalarSelect[str]:
    stands = sa.not_(sa.exists().where(recall.c.result_id == result.c.result_id))
    return sa.select(told).where(result.c.result_id == board.c.result_id, stands).correlate(board).scalar_subquery()


def _urgency() -> sa.ScalarSelect[int]:
    one, where = _placing()
    counted = sa.case((switched_off(one), _ROUTINE), else_=_rank(one))
    return sa.select(sa.func.min(counted)).where(*where).correlate(board).scalar_subquery()


def _leading() -> sa.ScalarSelect[str]:
    """As `summary.leading_first` has it."""
    one, where = _placing()
    order = (
        sa.case((switched_off(one), 1), else_=0),
        _rank(one),
        sa.func.coalesce(-one.c.score, sa.case((_organs_only(one), summary.ORGANS_LAST), else_=summary.NO_SCORE)),
        one.c.frozen_at,
        one.c.result_id,
    )
    return sa.select(one.c.result_id).where(*where).order_by(*order).limit(1).correlate(board).scalar_subquery()
