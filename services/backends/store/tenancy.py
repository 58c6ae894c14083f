"""Whose a study is: it is its first instance's tenant's, until a person moves it."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store import audit_events, deliveries, history, summary
from services.backends.store.engine import locked
from services.backends.store.tables import result, study
from services.triage.audit_types import AuditType
from services.triage.result import MOVED
from services.triage.tenant import NO_TENANT, Tenant


def tenant_of(connection: Connection, study_instance_uid: str) -> str:
    """See `StudyStore.tenant`."""
    mine = study.c.study_instance_uid == study_instance_uid
    return connection.scalar(sa.select(study.c.tenant).where(mine)) or NO_TENANT


def take(connection: Connection, study_instance_uids: Sequence[str], tenant: Tenant | None) -> set[str]:
    """Have locked studies for a tenant where they have none; answers those that another has."""
    if tenant is None:
        return set()
    these = study.c.study_instance_uid.in_(study_instance_uids)
    stale = sa.or_(study.c.tenant != tenant.name, study.c.tenant_issuer != tenant.issuer_of_patient_id)
    may_have = study.c.tenant.in_([NO_TENANT, tenant.name])
    connection.execute(sa.update(study).where(these, may_have, stale).values(_columns(tenant)))
    return set(connection.scalars(sa.select(study.c.study_instance_uid).where(these, study.c.tenant != tenant.name)))


def adopt(connection: Connection, tenant: Tenant) -> int:
    """See `StudyStore.adopt`."""
    return connection.execute(sa.update(study).where(study.c.tenant == NO_TENANT).values(_columns(tenant))).rowcount


def move(connection: Connection, study_instance_uid: str, tenant: Tenant, *, actor: str, now: datetime) -> bool:
    """See `StudyStore.move`."""
    locked(connection, [study_instance_uid])
    mine = study.c.study_instance_uid == study_instance_uid
    before = connection.scalar(sa.select(study.c.tenant).where(mine))
    if before is None or before == tenant.name:
        return before is not None
    connection.execute(sa.update(study).where(mine).values(_columns(tenant)))
    uid, cause = study_instance_uid, f"to tenant {tenant.name}"
    history.write(connection, [history.line(uid, "study", uid, time=now, actor=actor, what="moved", cause=cause)])
    results = sa.select(result.c.result_id).where(result.c.study_instance_uid == study_instance_uid)
    for result_id in connection.scalars(results).all():
        deliveries.withdraw(connection, result_id, MOVED, actor=actor, now=now)
    deliveries.withdraw_verdicts(connection, study_instance_uid, MOVED, actor=actor, now=now)
    # a model may be switched off for the one tenant and not for the other
    summary.refresh(connection, study_instance_uid)
    told = {"from": before, "to": tenant.name}
    audit_events.of_a_study(connection, AuditType.STUDY_MOVED, study_instance_uid, actor=actor, now=now, **told)
    return True


def _columns(tenant: Tenant) -> dict[str, str]:
    return {"tenant": tenant.name, "tenant_issuer": tenant.issuer_of_patient_id}
