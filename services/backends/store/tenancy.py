"""Whose a study is: it is its first instance's tenant's, until a person moves it."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store import deliveries, history
from services.backends.store.engine import locked
from services.backends.store.tables import result, study
from services.triage.result import MOVED
from services.triage.tenant import NO_TENANT


def tenant_of(connection: Connection, study_instance_uid: str) -> str:
    """See `StudyStore.tenant`."""
    mine = study.c.study_instance_uid == study_instance_uid
    return connection.scalar(sa.select(study.c.tenant).where(mine)) or NO_TENANT


def take(connection: Connection, study_instance_uids: Sequence[str], tenant: str) -> set[str]:
    """Have locked studies for a tenant where they have none; answers those that another has."""
    if tenant == NO_TENANT:
        return set()
    these = study.c.study_instance_uid.in_(study_instance_uids)
    connection.execute(sa.update(study).where(these, study.c.tenant == NO_TENANT).values(tenant=tenant))
    return set(connection.scalars(sa.select(study.c.study_instance_uid).where(these, study.c.tenant != tenant)))


def adopt(connection: Connection, tenant: str) -> int:
    """See `StudyStore.adopt`."""
    return connection.execute(sa.update(study).where(study.c.tenant == NO_TENANT).values(tenant=tenant)).rowcount


def move(connection: Connection, study_instance_uid: str, tenant: str, *, actor: str, now: datetime) -> bool:
    """See `StudyStore.move`."""
    locked(connection, [study_instance_uid])
    mine = study.c.study_instance_uid == study_instance_uid
    before = connection.scalar(sa.select(study.c.tenant).where(mine))
    if before is None or before == tenant:
        return before is not None
    connection.execute(sa.update(study).where(mine).values(tenant=tenant))
    uid, cause = study_instance_uid, f"to tenant {tenant}"
    history.write(connection, [history.line(uid, "study", uid, time=now, actor=actor, what="moved", cause=cause)])
    results = sa.select(result.c.result_id).where(result.c.study_instance_uid == study_instance_uid)
    for result_id in connection.scalars(results).all():
        deliveries.withdraw(connection, result_id, MOVED, actor=actor, now=now)
    return True
