"""A database that was put back from a copy: `SqlStudyStore.restored` is one."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Engine

from services.backends.store import history
from services.backends.store.engine import reading, writing
from services.backends.store.holds import chunks
from services.backends.store.tables import audit_record, delivery, instance, job, result_object, verdict_document
from services.triage.audit_types import AuditType
from services.triage.job import JobState
from services.triage.result import DeliveryState

RESTORED = "restored"
_PAGE = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Resumed:
    """What goes on after a restore: jobs that run again, and deliveries that were pending when the copy was made."""

    jobs: int
    deliveries: int


class Restored:
    """Each method is one transaction. Raises StoreUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def resume(self, *, now: datetime, hold: bool) -> Resumed:
        """Have open jobs published again, for the broker may have been lost, too; and release what was claimed.

        hold: deliveries that were pending are given up, so that a person says which are sent (`deliveries resend`).
        """
        unfinished = job.c.state.in_([JobState.QUEUED, JobState.ANALYSING])
        pending = delivery.c.state == DeliveryState.PENDING
        with writing(self._engine) as connection:
            queued = {"state": JobState.QUEUED, "outbox": True, "worker": None, "lease_expires_at": None}
            jobs = connection.execute(sa.update(job).where(unfinished).values(queued)).rowcount
            rows = connection.execute(sa.select(delivery).where(pending)).all()
            values: dict[str, object] = {"claim": None, "claim_expires_at": None}
            if hold:
                text = "pending when the copy was made: it may have been sent since"
                given_up = {"state": DeliveryState.GIVEN_UP, "next_at": None, "reason_code": RESTORED}
                values |= {**given_up, "reason_text": text}
            connection.execute(sa.update(delivery).where(pending).values(values))
            what = DeliveryState.GIVEN_UP if hold else DeliveryState.PENDING
            lines = [
                history.line(
                    row.study_instance_uid,
                    "delivery",
                    row.delivery_id,
                    time=now,
                    actor=RESTORED,
                    what=what,
                    cause=RESTORED,
                )
                for row in rows
            ]
            history.write(connection, lines)
        return Resumed(jobs=jobs, deliveries=len(rows))

    def unknown(self, digests: list[str]) -> set[str]:
        """Of received files: those that the database does not name, for they came after it was copied."""
        named: set[str] = set()
        with reading(self._engine) as connection:
            for chunk in chunks(digests):
                named.update(connection.scalars(sa.select(instance.c.digest).where(instance.c.digest.in_(chunk))))
        return set(digests) - named

    def images(self) -> Iterator[str]:
        """Digests of all images that should be here."""
        query = sa.select(instance.c.id, instance.c.digest).where(instance.c.deleted_at.is_(None))
        after = 0
        while True:
            with reading(self._engine) as connection:
                rows = connection.execute(query.where(instance.c.id > after).order_by(instance.c.id).limit(_PAGE)).all()
            yield from (row.digest for row in rows)
            if len(rows) < _PAGE:
                return
            after = rows[-1].id

    def objects(self) -> list[str]:
        """SHA-256 of all objects of results and of verdicts."""
        with reading(self._engine) as connection:
            columns = (result_object.c.sha256, verdict_document.c.sha256)
            return [sha256 for column in columns for sha256 in connection.scalars(sa.select(column))]

    def erased(self) -> tuple[str, ...]:
        """Studies that were erased on request, by the audit trail."""
        of_request = audit_record.c.type == AuditType.ERASURE
        with reading(self._engine) as connection:
            documents = connection.scalars(
                sa.select(audit_record.c.document).where(of_request).order_by(audit_record.c.sequence)
            ).all()
        return tuple(_study_of(each) for each in documents)

    def erased_at(self) -> dict[str, datetime]:
        """When studies were last erased, on request or by retention, by the audit trail."""
        gone = audit_record.c.type.in_([AuditType.ERASURE, AuditType.RECORD_DELETED])
        uid, at = audit_record.c.study_instance_uid, audit_record.c.recorded_at
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(uid, sa.func.max(at, type_=at.type)).where(gone).group_by(uid))
            return {row[0]: row[1] for row in rows}


def _study_of(document: str) -> str:
    return str(json.loads(document)["objects"][0]["object_id"])
