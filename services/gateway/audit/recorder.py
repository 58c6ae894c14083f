"""Writing events of requests: into the trail, or into the spool while the database is away."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

import structlog

from services.backends.audit_spool import AuditSpool
from services.backends.store.audit import Audit
from services.logs import Conditions
from services.triage.audit import AuditEvent, key_of
from services.triage.errors import OutOfResources, StoreUnavailable

log = structlog.get_logger(__name__)

_REMEMBERED = 20_000


class Recorder:
    """Of one process. window: of one kind of access by one caller to one thing, one event stands for so long.

    The windows are the same in every process, so that several desks write one event, too.
    """

    def __init__(self, trail: Audit, spool: AuditSpool, clock: Callable[[], datetime], *, window: timedelta) -> None:
        self._trail = trail
        self._spool = spool
        self._clock = clock
        self._window_s = max(1.0, window.total_seconds())
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()
        self._conditions = Conditions(log)

    def record(self, event: AuditEvent) -> None:
        """Write an event. Whoever asked is served even where it could not be kept, which is then said aloud."""
        now = self._clock()
        if not event.key:
            event = replace(event, key=uuid4().hex)  # a commit whose answer was lost is not written again
        try:
            self._trail.record(event, now=now)
        except StoreUnavailable:
            self._keep(event, now)

    def once(self, event: AuditEvent, *what: str) -> None:
        """The same, once in a window for the same `what`."""
        now = self._clock()
        slot = str(int(now.timestamp() // self._window_s))
        key = key_of(event.type, slot, *what)
        with self._lock:
            if key in self._seen:
                return
        self.record(replace(event, key=key))
        with self._lock:
            self._seen[key] = None
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)

    def keyed(self, text: str) -> str:
        """See `Audit.keyed`; '' while the database is away."""
        try:
            return self._trail.keyed(text)
        except StoreUnavailable:
            return ""

    def study_of(self, sop_instance_uid: str) -> str | None:
        """See `Audit.study_of`; None also while the database is away."""
        try:
            return self._trail.study_of(sop_instance_uid)
        except StoreUnavailable:
            return None

    def _keep(self, event: AuditEvent, now: datetime) -> None:
        try:
            self._spool.add(event, now=now)
        except OutOfResources as error:
            self._conditions.begins("audit_event_lost", type=event.type, reason=str(error))
        else:
            self._conditions.ends("audit_event_lost")
