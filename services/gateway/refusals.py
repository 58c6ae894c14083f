"""Callers that the door turned away: counted, and written into the audit trail (PS3.15 A.5.3.11), never waited for.

The process that turns a caller away tells the door's parent by a datagram; if that is busy, the log alone has it. The
parent counts, and now and then has a child write the counts down: whoever tries a thousand times a second makes one
event per caller and address a minute, and not more than `MOST_CALLERS` of these and one for the others.
"""

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum

import structlog

from services.backends.audit_spool import AuditSpool
from services.backends.store import open_store
from services.logs import where
from services.settings import Settings
from services.triage.audit import AuditActor, AuditEvent, AuditObject, AuditObjectKind, AuditOutcome
from services.triage.audit_types import AuditType, audited
from services.triage.errors import OutOfResources, SchemaRefused, TransientError

log = structlog.get_logger(__name__)

MOST_CALLERS = 50
"""Told by name in a minute; the others are told together."""

OTHERS = "(others)"
_FIRST_S, _MINUTE_S = 1.0, 60.0
_DATAGRAM_BYTES = 1024
_AT_ONCE = 2000


class RefusedFor(StrEnum):
    """Why a caller was turned away."""

    CALLED_TITLE = "called_title"
    CALLING_TITLE = "calling_title"
    UNKNOWN_TITLE = "unknown_title"
    WRONG_ADDRESS = "wrong_address"
    WRONG_CERTIFICATE = "wrong_certificate"
    NO_TLS = "no_tls"
    TLS_HANDSHAKE = "tls_handshake"
    TOO_MANY = "too_many"
    QUOTA = "quota"


_LOAD = frozenset({RefusedFor.TOO_MANY, RefusedFor.QUOTA})
"""Of those who are known, or could be: counted, but no alert."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A caller that was turned away. caller: its AE title as it is claimed, '' where it told none."""

    reason: RefusedFor
    caller: str
    address: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """How often the same refusal happened since it was last told."""

    refusal: Refusal
    count: int


class Tally:
    """Refusals that are to be told; bounded, whatever callers call themselves."""

    def __init__(self) -> None:
        self._counts: dict[Refusal, int] = {}
        self._told_at: dict[Refusal, float] = {}

    def add(self, refusal: Refusal) -> None:
        """Count one."""
        for known in (refusal, Refusal(reason=refusal.reason, caller=OTHERS, address=refusal.address)):
            if known in self._counts or len({*self._counts, *self._told_at}) < MOST_CALLERS:
                break
        else:
            known = Refusal(reason=refusal.reason, caller=OTHERS, address=OTHERS)
        self._counts[known] = self._counts.get(known, 0) + 1

    def due(self, now: float) -> tuple[Refused, ...]:
        """Those to be told now: the first at once, how many came after it a minute later. Their counts begin anew."""
        self._told_at = {each: at for each, at in self._told_at.items() if now - at < _MINUTE_S}
        due = tuple(
            Refused(refusal=each, count=count) for each, count in self._counts.items() if each not in self._told_at
        )
        for each in due:
            self._told_at[each.refusal] = now
            del self._counts[each.refusal]
        return due

    def rest(self) -> tuple[Refused, ...]:
        """Those that were not told yet."""
        return tuple(Refused(refusal=each, count=count) for each, count in self._counts.items())


class RefusalDesk:
    """The door's own: `tell` in the process of an association, `attend` in the parent.

    write: what puts refusals down; it runs in a child, and may take its time.
    """

    def __init__(self, write: Callable[[Sequence[Refused]], None]) -> None:
        self._write = write
        self._parent, self._children = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._parent.setblocking(False)
        self._children.setblocking(False)
        self._tally = Tally()
        self._writer: int | None = None
        self._next_at = 0.0

    def tell(self, refusal: Refusal) -> None:
        """Say it to the parent; where that does not listen now, it is lost to all but the log."""
        with suppress(OSError):
            self._children.send(json.dumps(asdict(refusal)).encode())

    def attend(self, listening: Sequence[socket.socket]) -> None:
        """Take in what was told, and have written what is due. Returns at once.

        listening: sockets that whoever outlives the door must not hold.
        """
        self._take_in()
        if time.monotonic() < self._next_at or self._is_writing():
            return
        self._next_at = time.monotonic() + _FIRST_S
        self._have_written(self._tally.due(time.monotonic()), listening)

    def close(self) -> None:
        """Have written what is left."""
        self._take_in()
        self._have_written(self._tally.rest(), ())

    def _take_in(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                told = json.loads(self._parent.recv(_DATAGRAM_BYTES))
            except BlockingIOError:
                return
            self._tally.add(Refusal(**told | {"reason": RefusedFor(told["reason"])}))

    def _is_writing(self) -> bool:
        if self._writer is None:
            return False
        try:
            ended, _ = os.waitpid(self._writer, os.WNOHANG)
        except ChildProcessError:  # socketserver has waited for it
            ended = self._writer
        if ended:
            self._writer = None
        return not ended

    def _have_written(self, due: Sequence[Refused], listening: Sequence[socket.socket]) -> None:
        if not due:
            return
        self._writer = os.fork()
        if self._writer:
            return
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            for each in listening:
                each.close()
            self._write(due)
        except BaseException as error:  # noqa: BLE001 - a forked process must end here, not in its parent's code
            log.error("refusals_not_recorded", **where(error))  # noqa: TRY400 - no values
        finally:
            os._exit(0)


def record(settings: Settings, refused: Sequence[Refused]) -> None:
    """Add refusals to the audit trail, by its spool, and count them in the store; what fails, the log has."""
    now, spool = datetime.now(UTC), AuditSpool(settings.data)
    try:
        for each in refused:
            if each.refusal.reason not in _LOAD:
                spool.add(as_event(each), now=now)
    except OutOfResources as error:
        _log(refused, "audit_event_lost", error)
    try:
        store = open_store(settings.store_url())
        try:
            for each in refused:
                store.refusals.count(each.refusal.reason, each.count)
        finally:
            store.close()
    except (TransientError, SchemaRefused) as error:
        _log(refused, "refusals_not_counted", error)


def as_event(refused: Refused) -> AuditEvent:
    """As it stands in the audit trail."""
    refusal = refused.refusal
    told = {"count": str(refused.count), "part": "door"}
    return audited(
        AuditType.ASSOCIATION_REJECTED,
        AuditActor(name=refusal.caller or "(no AE title)", address=refusal.address),
        objects=(AuditObject(kind=AuditObjectKind.ADDRESS, object_id=refusal.address, details=told),),
        outcome=AuditOutcome.SERIOUS_FAILURE,
        reason=refusal.reason,
    )


def _log(refused: Sequence[Refused], what: str, error: Exception) -> None:
    for each in refused:
        told = {"reason": each.refusal.reason, "caller": each.refusal.caller, "address": each.refusal.address}
        log.warning(what, error=type(error).__name__, count=each.count, **told)
