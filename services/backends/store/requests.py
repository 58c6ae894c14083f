"""Requests for Storage Commitment that others make to us (PS3.4 annex J), until they have the report.

An instance is committed when the archive says so in any transaction in which we asked it; what it does not commit
counts by the newest one only. As with deliveries, a claim that ran out is another process's to take.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from services.backends.store import request_rows as rows
from services.backends.store.engine import reading, writing
from services.backends.store.tables import archive_inquiry, commitment_request, requested_instance
from services.triage.commitment import (
    FINAL,
    PROCESSING_FAILURE,
    CommitmentReport,
    CommitmentRequest,
    DueRequest,
    RequestLine,
    RequestState,
)
from services.triage.errors import LeaseLost, Reason
from services.triage.tenant import NO_TENANT

_OPEN = (RequestState.ASKED, RequestState.DECIDED)


class Requests:
    """`services.triage.ports.CommitmentRequests`: each method one transaction. Raises StoreUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def enter(self, request: CommitmentRequest, *, now: datetime) -> bool:
        """See CommitmentRequests."""
        row = {
            "transaction_uid": request.transaction_uid,
            "calling_ae_title": request.calling_ae_title,
            "state": RequestState.ASKED,
            "asked_at": now,
            "attempt": 0,
            "next_at": now,
        }
        objects = [
            {
                "transaction_uid": request.transaction_uid,
                "position": position,
                "sop_class_uid": sop_class_uid,
                "sop_instance_uid": uid,
                "decided": False,
            }
            for position, (sop_class_uid, uid) in enumerate(dict.fromkeys(request.objects))
        ]
        try:
            with writing(self._engine) as connection:
                connection.execute(sa.insert(commitment_request).values(row))
                connection.execute(sa.insert(requested_instance), objects)
        except sa.exc.IntegrityError:
            return False
        return True

    def claim(
        self, calling_ae_title: str, *, now: datetime, duration: timedelta, tenant: str = NO_TENANT
    ) -> DueRequest | None:
        """See CommitmentRequests."""
        found = _next(calling_ae_title, now)
        # a look without the write lock first: an idle process disturbs nobody
        with reading(self._engine) as connection:
            if connection.execute(found).first() is None:
                return None
        with writing(self._engine) as connection:
            uid = connection.scalar(found.with_for_update(skip_locked=True))
            if uid is None:
                return None
            this, mine = commitment_request.c.transaction_uid == uid, uuid4().hex
            values = {"claim": mine, "claim_expires_at": now + duration}
            connection.execute(sa.update(commitment_request).where(this).values(values))
            return rows.due_request(connection, uid, tenant=tenant)

    def renew(self, due: DueRequest, *, now: datetime, duration: timedelta) -> None:
        """See CommitmentRequests."""
        with writing(self._engine) as connection:
            _update(connection, due, claim_expires_at=now + duration)

    def decide(self, due: DueRequest, failed: Mapping[tuple[str, str], int], *, now: datetime) -> None:
        """See CommitmentRequests."""
        with writing(self._engine) as connection:
            row = rows.locked(connection, due.transaction_uid)
            if row.claim != due.claim or row.state != RequestState.ASKED:
                return
            undecided = rows.undecided(connection, due.transaction_uid)
            reasons = [(each, failed.get((each.sop_class_uid, each.sop_instance_uid))) for each in undecided]
            rows.enter_verdicts(
                connection, [rows.verdict(each, reason) for each, reason in reasons if reason is not None]
            )
            rows.close_if_decided(connection, due.transaction_uid, now)

    def archive_asked(
        self, due: DueRequest, transaction_uid: str, *, now: datetime, again_at: datetime, retry_at: datetime
    ) -> None:
        """See CommitmentRequests."""
        with writing(self._engine) as connection:
            if not _update(connection, due, next_at=again_at, reason_code=None, reason_text=None):
                raise LeaseLost(f"request {due.transaction_uid} is another process's now")
            connection.execute(
                sa.insert(archive_inquiry).values(
                    transaction_uid=transaction_uid,
                    request_uid=due.transaction_uid,
                    number=due.inquiries + 1,
                    instances=tuple(each.sop_instance_uid for each in rows.undecided(connection, due.transaction_uid)),
                    asked_at=now,
                    retry_at=retry_at,
                )
            )

    def put_off(self, due: DueRequest, reason: Reason | None, *, next_at: datetime) -> None:
        """See CommitmentRequests."""
        values: dict[str, Any] = {"next_at": next_at, **rows.UNCLAIMED}
        if reason is not None:
            values |= {"reason_code": reason.code, "reason_text": reason.text, "attempt": due.attempt}
        with writing(self._engine) as connection:
            _update(connection, due, **values)

    def reported(self, due: DueRequest, *, now: datetime) -> None:
        """See CommitmentRequests."""
        with writing(self._engine) as connection:
            # whoever has sent it: a report that was taken is not sent again
            open_still = (
                commitment_request.c.transaction_uid == due.transaction_uid,
                commitment_request.c.state.in_([RequestState.DECIDED, RequestState.GIVEN_UP]),
            )
            values = {"state": RequestState.REPORTED, "next_at": None, "reason_code": None, "reason_text": None}
            done = connection.execute(sa.update(commitment_request).where(*open_still).values(values | rows.UNCLAIMED))
            if done.rowcount:
                rows.note(
                    connection,
                    due.transaction_uid,
                    "commitment_reported",
                    f"{due.count()}, to {due.calling_ae_title}",
                    now,
                )

    def give_up(self, due: DueRequest, reason: Reason, *, now: datetime) -> None:
        """See CommitmentRequests."""
        with writing(self._engine) as connection:
            values = {"reason_code": reason.code, "reason_text": reason.text, "attempt": due.attempt}
            if _update(connection, due, state=RequestState.GIVEN_UP, next_at=None, **values, **rows.UNCLAIMED):
                text = f"{reason.text} [{reason.code}]"
                rows.note(connection, due.transaction_uid, "commitment_not_reported", text, now)

    def lines(
        self, states: Collection[RequestState], *, calling_ae_title: str | None = None, limit: int = 1000
    ) -> list[RequestLine]:
        """See CommitmentRequests."""
        found = sa.select(commitment_request).where(commitment_request.c.state.in_(sorted(states)))
        if calling_ae_title is not None:
            found = found.where(commitment_request.c.calling_ae_title == calling_ae_title)
        found = found.order_by(commitment_request.c.asked_at, commitment_request.c.transaction_uid).limit(limit)
        with reading(self._engine) as connection:
            return [rows.line(connection, row) for row in connection.execute(found).all()]

    def report_again(self, transaction_uids: Sequence[str], *, actor: str, now: datetime) -> list[str]:
        """See CommitmentRequests."""
        done = []
        with writing(self._engine) as connection:
            for uid in transaction_uids:
                given_up = (
                    commitment_request.c.transaction_uid == uid,
                    commitment_request.c.state == RequestState.GIVEN_UP,
                )
                # as if decided now: the report is tried for its whole time again
                values = {
                    "state": RequestState.DECIDED,
                    "attempt": 0,
                    "next_at": now,
                    "decided_at": now,
                    **rows.UNCLAIMED,
                }
                if connection.execute(sa.update(commitment_request).where(*given_up).values(values)).rowcount:
                    rows.note(connection, uid, "commitment_decided", "asked to report again", now, actor=actor)
                    done.append(uid)
        return done

    def awaited(self, sop_instance_uids: Collection[str]) -> set[str]:
        """See CommitmentRequests."""
        uids = requested_instance.c.sop_instance_uid
        found = sa.select(uids).where(uids.in_(sorted(sop_instance_uids)), sa.not_(requested_instance.c.decided))
        with reading(self._engine) as connection:
            return set(connection.scalars(found))


def answered(connection: Connection, report: CommitmentReport, *, now: datetime) -> bool:
    """An archive's answer to an inquiry of ours, late or repeated ones too. False: it is of no such transaction."""
    this = archive_inquiry.c.transaction_uid == report.transaction_uid
    request_uid = connection.scalar(sa.select(archive_inquiry.c.request_uid).where(this))
    if request_uid is None:
        return False
    row = rows.locked(connection, request_uid)
    inquiry = connection.execute(sa.select(archive_inquiry).where(this)).one()
    if inquiry.answered_at is not None:
        return True
    connection.execute(sa.update(archive_inquiry).where(this).values(answered_at=now))
    if row.state != RequestState.ASKED:
        return True
    newest = inquiry.number == rows.inquiries(connection, request_uid)
    asked = set(inquiry.instances)
    verdicts = []
    for each in rows.undecided(connection, request_uid):
        if each.sop_instance_uid in asked & report.committed:
            verdicts.append(rows.verdict(each, None))
        elif newest and each.sop_instance_uid in asked:
            # silence about one is no promise either
            reason = report.failed.get(each.sop_instance_uid, PROCESSING_FAILURE)
            verdicts.append(rows.verdict(each, reason, decided=reason in FINAL))
    rows.enter_verdicts(connection, verdicts)
    if not rows.close_if_decided(connection, request_uid, now) and newest:
        refused = report.shortfall(inquiry.instances)
        values = {"reason_code": refused.code, "reason_text": refused.text, "next_at": max(now, inquiry.retry_at)}
        connection.execute(
            sa.update(commitment_request).where(rows.is_request(request_uid)).values(values | rows.UNCLAIMED)
        )
    return True


def _update(connection: Connection, due: DueRequest, **values: Any) -> bool:
    """Change it while the claim is this process's."""
    mine = rows.is_request(due.transaction_uid), commitment_request.c.claim == due.claim
    return bool(connection.execute(sa.update(commitment_request).where(*mine).values(values)).rowcount)


def _next(calling_ae_title: str, now: datetime) -> sa.Select[str]:
    free = sa.or_(commitment_request.c.claim_expires_at.is_(None), commitment_request.c.claim_expires_at <= now)
    return (
        sa.select(commitment_request.c.transaction_uid)
        .where(
            commitment_request.c.calling_ae_title == calling_ae_title,
            commitment_request.c.state.in_(_OPEN),
            commitment_request.c.next_at <= now,
            free,
        )
        .order_by(commitment_request.c.asked_at, commitment_request.c.transaction_uid)
        .limit(1)
    )
