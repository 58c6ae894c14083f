"""The reads of the desk: the work list, one study with all its history, and counts."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from services.backends.store import board as shown
from services.backends.store import inquiries, key_images, work_list
from services.backends.store.commitments import AWAITS_COMMITMENT
from services.backends.store.detail import study_detail
from services.backends.store.engine import reading
from services.backends.store.flagging import times_since
from services.backends.store.frozen import sha256_of
from services.backends.store.key_images import KeyLesion
from services.backends.store.sight import EVERYTHING as EVERYBODYS
from services.backends.store.sight import Sight
from services.backends.store.tables import (
    adt_count,
    board,
    commitment_request,
    delivery,
    event,
    job,
    result,
    result_object,
    study,
    study_version,
)
from services.backends.store.withheld import NEEDS_NOBODY, is_held, may_leave
from services.backends.store.work_list import EVERYTHING, Page, Place, Waiting, WorkListFilter
from services.triage.commitment import RequestState
from services.triage.job import JobState
from services.triage.result import DeliveryState
from services.triage.study import StudyState


class Board:
    """What the desk may ask. Raises StoreUnavailable."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime], sight: Sight = EVERYBODYS) -> None:
        self._engine = engine
        self._clock = clock
        self._sight = sight

    def page(self, wanted: WorkListFilter = EVERYTHING, *, at: Place | None = None, limit: int = 100) -> Page:
        """A page of the work list, in the order of `triage.reading.rank`; at: where it begins, None: at the top."""
        with reading(self._engine) as connection:
            return work_list.page(connection, wanted, at=at, limit=limit, now=self._clock(), sight=self._sight)

    def work_list(self, *, limit: int = 100, **wanted: Any) -> list[shown.StudyRow]:
        """The rows of its first page; wanted: the fields of a `WorkListFilter`."""
        return list(self.page(WorkListFilter(**wanted), limit=limit).rows)

    def waiting(self, *, tenant: str | None = None) -> Waiting:
        """How many studies wait for a reader. tenant: whose; None: everybody's."""
        with reading(self._engine) as connection:
            return work_list.waiting(connection, tenant, now=self._clock(), sight=self._sight)

    def model_names(self) -> tuple[str, ...]:
        """Of the models whose result leads any study."""
        with reading(self._engine) as connection:
            return work_list.model_names(connection)

    def key_lesion(self, study_instance_uid: str, result_id: str) -> KeyLesion | None:
        """The most suspicious lesion of a result of a study; None where there is none to be shown."""
        with reading(self._engine) as connection:
            return key_images.key_lesion(connection, study_instance_uid, result_id, now=self._clock())

    def newest_event(self) -> int:
        """The number of the newest line of any history: it grows whenever anything happens to any study."""
        with reading(self._engine) as connection:
            return connection.scalar(sa.select(sa.func.max(event.c.id))) or 0

    def study(self, study_instance_uid: str) -> shown.StudyDetail | None:
        """All of one study, None if it is unknown."""
        mine = study.c.study_instance_uid == study_instance_uid, *self._sight.conditions()
        with reading(self._engine) as connection:
            now = self._clock()
            row = connection.execute(work_list.lines(now).where(*mine)).first()
            if row is None:
                return None
            seen = self._sight.row(work_list.study_row(row))
            return self._sight.detail(study_detail(connection, seen, now=now))

    def as_shown(self, study_instance_uid: str) -> str | None:
        """What the study's line tells of (`StudyRow.shown`), None if it is unknown."""
        found = (
            sa.select(board.c.last_instance_at, result.c.frozen_at)
            .join_from(board, study, board.c.study_instance_uid == study.c.study_instance_uid)
            .outerjoin(result, board.c.result_id == result.c.result_id)
            .where(study.c.study_instance_uid == study_instance_uid, *self._sight.conditions())
        )
        with reading(self._engine) as connection:
            row = connection.execute(found).first()
        return None if row is None else shown.shown_of(row.last_instance_at, row.frozen_at)

    def result_object(self, sop_instance_uid: str) -> str | None:
        """The SHA-256 of a frozen object, its name in `StudyFiles.result_path`; None while its result is withheld."""
        with reading(self._engine) as connection:
            return sha256_of(connection, sop_instance_uid, now=self._clock(), sight=self._sight)

    def objects_of(self, result_id: str) -> frozenset[str]:
        """The SOP Instance UIDs of a result's objects; none while it is withheld."""
        shown_now = sa.not_(is_held(result_object.c.result_id, self._clock()))
        with reading(self._engine) as connection:
            mine = result_object.c.result_id == result_id
            return frozenset(connection.scalars(sa.select(result_object.c.sop_instance_uid).where(mine, shown_now)))

    def has_result(self, result_id: str) -> bool:
        """Whether there is such a result."""
        found = (
            sa.select(result.c.result_id)
            .join(study, study.c.study_instance_uid == result.c.study_instance_uid)
            .where(result.c.result_id == result_id, *self._sight.conditions())
        )
        with reading(self._engine) as connection:
            return connection.scalar(found) is not None

    def has_study(self, study_instance_uid: str) -> bool:
        """Whether there is such a study."""
        mine = study.c.study_instance_uid == study_instance_uid, *self._sight.conditions()
        with reading(self._engine) as connection:
            return connection.scalar(sa.select(study.c.study_instance_uid).where(*mine)) is not None

    def studies_by_tenant(self) -> dict[str, int]:
        """How many studies each tenant has; NO_TENANT is a key, too."""
        with reading(self._engine) as connection:
            return {key[0]: n for key, n in _count_by(connection, study.c.tenant).items()}

    def times_to_flag(self, *, since: datetime, percents: Sequence[int]) -> shown.FlagTimes:
        """Of all studies that got since then the flag that they have now; percents: 1 to 100 each."""
        with reading(self._engine) as connection:
            return times_since(connection, since, percents)

    def counts(self) -> shown.Counts:
        """For metrics."""
        now = self._clock()
        leaves = may_leave(now)
        with reading(self._engine) as connection:
            blind = is_held(delivery.c.result_id, now)
            told = sa.or_(delivery.c.result_id.is_(None), sa.not_(blind))
            state = sa.case((NEEDS_NOBODY, "withdrawn"), else_=delivery.c.state).label("state")
            told_of = sa.select(delivery.c.destination, state).where(told).subquery()
            deliveries = _count_by(connection, told_of.c.destination, told_of.c.state)
            commitments = _count_by(connection, commitment_request.c.calling_ae_title, commitment_request.c.state)
            shown_now = sa.not_(is_held(result.c.result_id, now))
            outcomes = _count_by(connection, result.c.model_name, result.c.outcome, result.c.flag, where=shown_now)
            return shown.Counts(
                studies={key[0]: n for key, n in _count_by(connection, board.c.state).items()},
                jobs={key[0]: n for key, n in _count_by(connection, job.c.state).items()},
                deliveries={(name, state): n for (name, state), n in deliveries.items()},
                commitments={(ae_title, state): n for (ae_title, state), n in commitments.items()},
                adt={
                    (row.trigger_event, row.outcome): row.messages for row in connection.execute(sa.select(adt_count))
                },
                outcomes={(model, outcome, flag): n for (model, outcome, flag), n in outcomes.items()},
                oldest_receiving_image_at=connection.scalar(
                    sa.select(sa.func.min(study_version.c.last_image_at)).where(
                        study_version.c.state == StudyState.RECEIVING
                    )
                ),
                oldest_queued_at=connection.scalar(
                    sa.select(sa.func.min(job.c.queued_at)).where(job.c.state == JobState.QUEUED)
                ),
                oldest_unfinished_at=connection.scalar(
                    sa.select(sa.func.min(job.c.queued_at)).where(
                        job.c.state.in_((JobState.QUEUED, JobState.ANALYSING))
                    )
                ),
                oldest_pending_delivery_at=connection.scalar(
                    sa.select(sa.func.min(delivery.c.created_at)).where(
                        delivery.c.state == DeliveryState.PENDING, leaves
                    )
                ),
                oldest_uncommitted_delivery_at=connection.scalar(
                    sa.select(sa.func.min(delivery.c.created_at)).where(AWAITS_COMMITMENT)
                ),
                kept_back=connection.scalar(
                    sa.select(sa.func.count()).where(delivery.c.state == DeliveryState.PENDING, sa.not_(leaves))
                )
                or 0,
                completions={
                    code: n for (code,), n in _count_by(connection, study_version.c.completed_on).items() if code
                },
                waiting_for_pacs=inquiries.waiting(connection),
                oldest_open_commitment_at=connection.scalar(
                    sa.select(sa.func.min(commitment_request.c.asked_at)).where(
                        commitment_request.c.state.in_((RequestState.ASKED, RequestState.DECIDED))
                    )
                ),
            )


def _count_by(
    connection: Connection, *columns: sa.ColumnElement[Any], where: sa.ColumnElement[bool] | None = None
) -> dict[tuple[str, ...], int]:
    counted = sa.select(*columns, sa.func.count()).group_by(*columns)
    rows = connection.execute(counted if where is None else counted.where(where))
    return {tuple(row[:-1]): int(row[-1]) for row in rows}
