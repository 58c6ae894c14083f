"""Which studies an export for research takes. `SqlStudyStore.research` is one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Engine

from services.backends.store.engine import reading
from services.backends.store.tables import result, study, verdict
from services.backends.store.withheld import is_held


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Studies with a result that can be seen, by all of these that are told.

    since, until: when it was frozen, the latter not included. tenant: whose the study is. with_verdicts: a reader
    answered.
    """

    study_instance_uids: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None
    model_names: Sequence[str] = ()
    tenant: str | None = None
    with_verdicts: bool = False


class Research:
    """Raises StoreUnavailable."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

    def studies(self, wanted: Wanted) -> list[str]:
        """Their Study Instance UIDs, in order."""
        uid = study.c.study_instance_uid
        of_results: list[sa.ColumnElement[bool]] = [sa.not_(is_held(result.c.result_id, self._clock()))]
        if wanted.since is not None:
            of_results.append(result.c.frozen_at >= wanted.since)
        if wanted.until is not None:
            of_results.append(result.c.frozen_at < wanted.until)
        if wanted.model_names:
            of_results.append(result.c.model_name.in_(wanted.model_names))
        conditions: list[sa.ColumnElement[bool]] = [sa.exists().where(result.c.study_instance_uid == uid, *of_results)]
        if wanted.study_instance_uids:
            conditions.append(uid.in_(wanted.study_instance_uids))
        if wanted.tenant is not None:
            conditions.append(study.c.tenant == wanted.tenant)
        if wanted.with_verdicts:
            conditions.append(sa.exists().where(verdict.c.study_instance_uid == uid))
        with reading(self._engine) as connection:
            return list(connection.scalars(sa.select(uid).where(*conditions).order_by(uid)))
