"""Verdicts as DICOM documents: who is owed one, and what was frozen. `SqlStudyStore.verdict_documents` is one.

A row of `verdict_document_owed` is written with the verdict, and goes with the document that has it: a kill in between
loses nothing, and two processes that write the same document freeze one.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from services.backends.store import audit_events, history, tenancy
from services.backends.store.engine import insert_new, locked, put, reading, writing
from services.backends.store.owed import owe as owe_delivery
from services.backends.store.tables import board, verdict, verdict_document
from services.backends.store.tables import verdict_document_owed as owed
from services.triage.job import OrderPriority
from services.triage.result import Destination, ObjectKind
from services.triage.verdict_document import OwedDocument, VerdictDocument

_LOOKED_AT = 100  # documents to be written in one turn


class VerdictDocuments:
    """What the desk and delivery may ask and do. Raises StoreUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def finish(self, study_instance_uid: str, reader: str, *, authenticated: bool, now: datetime) -> bool:
        """The reader says that they have finished; False: all that they said is in a document already."""
        with writing(self._engine) as connection:
            locked(connection, [study_instance_uid])
            values = {"done_at": now, "authenticated": authenticated}
            return bool(
                connection.execute(sa.update(owed).where(*_of(study_instance_uid, reader)).values(values)).rowcount
            )

    def due(self, *, now: datetime, quiet: timedelta) -> list[OwedDocument]:
        """The oldest documents to be written: of readers who have finished, or gave no verdict for so long."""
        rows = (
            sa.select(owed)
            .where(sa.or_(owed.c.done_at.is_not(None), owed.c.last_given_at <= now - quiet))
            .order_by(owed.c.last_given_at, owed.c.study_instance_uid, owed.c.reader)
            .limit(_LOOKED_AT)
        )
        with reading(self._engine) as connection:
            return [
                OwedDocument(
                    study_instance_uid=row.study_instance_uid,
                    reader=row.reader,
                    verified_at=row.done_at if row.authenticated else None,
                )
                for row in connection.execute(rows)
            ]

    def freeze(self, written: VerdictDocument, destinations: Sequence[Destination], *, actor: str) -> bool:
        """Commit a document once, with a pending delivery for each destination that gets the tenant's verdicts.

        False, and nothing changes: another process was first, or the reader has gone on since.
        """
        uid = written.study_instance_uid
        with writing(self._engine) as connection:
            locked(connection, [uid])
            given = _count(connection, uid, written.reader)
            still = sa.delete(owed).where(*_of(uid, written.reader))
            if given != written.verdicts or not connection.execute(still).rowcount:
                return False
            connection.execute(
                sa.insert(verdict_document).values(
                    **{column.name: getattr(written, column.name) for column in verdict_document.columns}
                )
            )
            line = history.line(
                uid,
                "study",
                "study",
                time=written.written_at,
                actor=actor,
                what="verdict_document",
                cause=written.reader,
            )
            history.write(connection, [line])
            _owe_deliveries(connection, written, destinations, actor=actor)
            audit_events.documented(connection, written, actor=actor)
        return True

    def of_study(self, study_instance_uid: str) -> tuple[VerdictDocument, ...]:
        """All that were written, oldest first."""
        with reading(self._engine) as connection:
            return of_study(connection, study_instance_uid)


def owe(connection: Connection, study_instance_uid: str, reader: str, *, now: datetime) -> None:
    """A verdict was given: its reader goes on with the study."""
    fresh = {"last_given_at": now, "done_at": None, "authenticated": False}
    put(connection, owed, [{"study_instance_uid": study_instance_uid, "reader": reader, **fresh}])


def owe_again(connection: Connection, study_instance_uid: str, *, now: datetime) -> None:
    """Patient or order data were corrected: each reader's document is to be written once more."""
    readers = {one.reader for one in of_study(connection, study_instance_uid)}
    fresh = {"last_given_at": now, "authenticated": False}
    rows = [{"study_instance_uid": study_instance_uid, "reader": reader, **fresh} for reader in sorted(readers)]
    if rows:
        insert_new(connection, owed, rows)


def of_study(connection: Connection, study_instance_uid: str) -> tuple[VerdictDocument, ...]:
    """See `VerdictDocuments.of_study`."""
    rows = (
        sa.select(verdict_document)
        .where(verdict_document.c.study_instance_uid == study_instance_uid)
        .order_by(verdict_document.c.written_at, verdict_document.c.sop_instance_uid)
    )
    return tuple(VerdictDocument(**row._mapping) for row in connection.execute(rows))


def _owe_deliveries(
    connection: Connection, written: VerdictDocument, destinations: Sequence[Destination], *, actor: str
) -> None:
    uid = written.study_instance_uid
    tenant = tenancy.tenant_of(connection, uid)
    priority = connection.scalar(sa.select(board.c.priority).where(board.c.study_instance_uid == uid))
    for one in destinations:
        if one.verdicts and tenant in one.tenants:
            owe_delivery(
                connection,
                created_at=written.written_at,
                actor=actor,
                verdict_document=written.sop_instance_uid,
                study_instance_uid=uid,
                destination=one.name,
                kind=one.kind,
                address=one.address,
                objects=(ObjectKind.SR,),
                priority=OrderPriority.ROUTINE if priority is None else priority,
            )


def _count(connection: Connection, study_instance_uid: str, reader: str) -> int:
    mine = verdict.c.study_instance_uid == study_instance_uid, verdict.c.reader == reader
    return int(connection.scalar(sa.select(sa.func.count()).select_from(verdict).where(*mine)) or 0)


def _of(study_instance_uid: str, reader: str) -> tuple[Any, ...]:
    return owed.c.study_instance_uid == study_instance_uid, owed.c.reader == reader
