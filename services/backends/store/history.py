"""The history: when, who, what and why, for studies, versions, jobs and deliveries."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store.tables import event
from services.triage.study import Event


def line(
    study_instance_uid: str,
    kind: str,
    subject: str,
    *,
    time: datetime,
    actor: str,
    what: str,
    cause: str = "",
) -> dict[str, Any]:
    """One line, to be written by `write`. kind: study, version, job or delivery; subject: its number or id."""
    return {
        "study_instance_uid": study_instance_uid,
        "kind": kind,
        "subject": subject,
        "time": time,
        "actor": actor,
        "what": what,
        "cause": cause,
    }


def write(connection: Connection, lines: Iterable[dict[str, Any]]) -> None:
    """Append lines."""
    if rows := list(lines):
        connection.execute(sa.insert(event), rows)


def read(connection: Connection, study_instance_uid: str) -> list[tuple[str, str, Event]]:
    """All lines of a study as (kind, subject, event), oldest first."""
    rows = connection.execute(
        sa.select(event).where(event.c.study_instance_uid == study_instance_uid).order_by(event.c.id)
    )
    return [(r.kind, r.subject, Event(time=r.time, actor=r.actor, what=r.what, cause=r.cause)) for r in rows]
