"""The audit trail to those who keep it elsewhere: a syslog server, and a file of anchors.

One process at a time sends, in the order of the chain; where it stops, another goes on.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from services.backends.audit_message import Source, audit_message
from services.backends.audit_syslog import SyslogServer, syslog_message
from services.backends.files import durable
from services.backends.store import SqlStudyStore
from services.backends.store.audit_check import anchor_line
from services.backends.store.audit_feed import ANCHORS, SYSLOG
from services.deliver.lane import utc_now
from services.logs import Conditions
from services.patience import pause_after
from services.settings import Settings
from services.triage.audit import AuditAnchor, AuditRecord
from services.triage.errors import CertificatesRefused, StoreUnavailable, TransientError

log = structlog.get_logger(__name__)

POLL_S = 2.0  # a look takes no lock; what waits goes together, by one connection
BATCH = 500
CLAIM = timedelta(seconds=120)
"""More than one batch takes: connecting, sending and the server's answer have their own limits."""


@dataclass(frozen=True, kw_only=True)
class Auditing:
    """Takes turns. server: None where no syslog server is set up. clock: answers the time in UTC."""

    store: SqlStudyStore
    server: SyslogServer | None
    source: Source
    anchors: Path
    anchor_every: timedelta
    retry_s: float
    retry_max_s: float
    stop: threading.Event
    clock: Callable[[], datetime] = utc_now
    _conditions: Conditions = field(default_factory=lambda: Conditions(log), init=False)

    def run(self) -> None:
        """Take turns until a stop is asked; that one receiver is away does not hold up the other."""
        failed = 0
        while not self.stop.is_set():
            sent, anchored = self._tried(SYSLOG, self.send), self._tried(ANCHORS, self.keep_anchor)
            failed = failed + 1 if None in (sent, anchored) else 0
            pause_s = 0 if sent == BATCH else POLL_S
            if failed:
                pause_s = pause_after(failed, first_s=self.retry_s, longest_s=self.retry_max_s)
            self.stop.wait(pause_s)

    def _tried(self, receiver: str, act: Callable[[], int]) -> int | None:
        """What it answers; None: it could not be done now."""
        try:
            done = act()
        except StoreUnavailable as error:
            self._conditions.begins("audit_sending_postponed", error=type(error).__name__)
            return None
        except (TransientError, CertificatesRefused) as error:
            self._conditions.begins("audit_receiver_unavailable", receiver, receiver=receiver, reason=str(error))
            return None
        self._conditions.ends("audit_sending_postponed")
        if done:
            self._conditions.ends("audit_receiver_unavailable", receiver, receiver=receiver)
        return done

    def send(self) -> int:
        """Send the next batch; answers how many records went.

        Raises StoreUnavailable, DestinationUnavailable, CertificatesRefused.
        """
        if self.server is None:
            return 0
        claim = self.store.audit_feeds.claim(SYSLOG, now=self.clock(), duration=CLAIM)
        if claim is None:
            return 0
        sequence = claim.sequence
        try:
            batch = self.store.audit.page(after=sequence, limit=BATCH)
            self.server.send([self._message(one) for one in batch])
            sequence = batch[-1].sequence if batch else sequence
        finally:
            self.store.audit_feeds.told(claim, sequence, now=self.clock(), duration=timedelta(0))
        return len(batch)

    def keep_anchor(self) -> bool:
        """Add the digest of the trail's head to the file of anchors, if it is time; answers whether.

        Raises StoreUnavailable, OutOfResources.
        """
        now = self.clock()
        last = self.store.audit_feeds.state(ANCHORS).told_at
        if last is not None and now - last < self.anchor_every:
            return False
        claim = self.store.audit_feeds.claim(ANCHORS, now=now, duration=CLAIM)
        if claim is None:
            return False
        head = self.store.audit.head()
        if head is None:
            return False
        _add_line(self.anchors, anchor_line(AuditAnchor(sequence=head.sequence, digest=head.digest, at=now)))
        return self.store.audit_feeds.told(claim, head.sequence, now=now, duration=timedelta(0))

    def _message(self, record: AuditRecord) -> bytes:
        try:
            document = audit_message(record, self.source)
        except ValueError:
            # changed by somebody: the receiver is told that it is there, and `vigie audit verify` where
            log.error("audit_record_unreadable", sequence=record.sequence)  # noqa: TRY400 - its text is no event
            document = f"<!-- record {record.sequence} is no event -->".encode()
        return syslog_message(document, at=record.recorded_at)


def auditing(store: SqlStudyStore, settings: Settings, stop: threading.Event) -> Auditing:
    """As the settings have it."""
    return Auditing(
        store=store,
        server=_server(settings),
        source=Source(source_id=settings.audit_source, site_id=settings.audit_site),
        anchors=settings.audit_anchors_file(),
        anchor_every=timedelta(seconds=settings.audit_anchor_interval_s),
        retry_s=settings.delivery_retry_s,
        retry_max_s=settings.delivery_retry_max_s,
        stop=stop,
    )


def _server(settings: Settings) -> SyslogServer | None:
    if settings.audit_syslog is None:
        return None
    host, _, port = settings.audit_syslog.rpartition(":")
    return SyslogServer(
        host=host.strip("[]"),
        port=int(port),
        ca=settings.audit_syslog_ca,
        certificate=settings.audit_syslog_certificate,
        key=settings.audit_syslog_key,
    )


def _add_line(path: Path, line: str) -> None:
    """Append a line, durably. Raises OutOfResources."""
    with durable.as_out_of_resources():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        durable.sync_folder(path.parent)
