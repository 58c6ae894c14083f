"""The audit trail reaches a real syslog server over TLS: all of it, in order, whatever breaks in between."""

import json
import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from services.backends.audit_message import Source
from services.backends.audit_syslog import SyslogServer
from services.backends.store import SqlStudyStore
from services.backends.store.audit_check import check, read_anchors
from services.deliver import auditing as module
from services.deliver.auditing import Auditing
from services.triage.audit import AuditActor
from services.triage.audit_types import AuditType, audited
from services.triage.errors import CertificatesRefused, DestinationUnavailable, StoreUnavailable
from tests.support.certificates import Authority
from tests.support.peers import free_port
from tests.support.records import NOON, after
from tests.support.syslog import syslog
from tests.support.trails import new_store


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority(tmp_path_factory.mktemp("authority") / "ca")
    for name in ("127.0.0.1", "vigie.example"):
        authority.certificate(name)
    return authority


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStudyStore]:
    opened = new_store(tmp_path)
    yield opened
    opened.close()


class Sender:
    """Of a trail, with a clock that stands still."""

    def __init__(self, store: SqlStudyStore, authority: Authority, folder: Path, port: int) -> None:
        self.store, self.now, self.ca = store, NOON, authority.ca
        self.anchors = folder / "anchors.jsonl"
        self.server = SyslogServer(
            host="127.0.0.1",
            port=port,
            ca=authority.ca,
            certificate=authority.ca.parent / "vigie.example.pem",
            key=authority.ca.parent / "vigie.example.key",
        )

    def new(self) -> Auditing:
        return Auditing(
            store=self.store,
            server=self.server,
            source=Source(source_id="Vigie"),
            anchors=self.anchors,
            anchor_every=timedelta(hours=1),
            retry_s=0.1,
            retry_max_s=0.1,
            stop=threading.Event(),
            clock=lambda: self.now,
        )

    def happens(self, count: int) -> None:
        events = [audited(AuditType.SIGN_IN, AuditActor(name="reader.one")) for _ in range(count)]
        self.store.audit.record_all(events, now=self.now)


def numbers(messages: list[bytes]) -> list[int]:
    return [int(re.search(rb"audit-record:(\d+)", one)[1]) for one in messages]


@pytest.fixture
def sender(store: SqlStudyStore, authority: Authority, tmp_path: Path) -> Sender:
    return Sender(store, authority, tmp_path, free_port())


def listening(sender: Sender):
    folder = sender.ca.parent
    return syslog(folder / "127.0.0.1.pem", folder / "127.0.0.1.key", ca=sender.ca, port=sender.server.port)


def test_every_record_arrives_in_order_as_rfc_5424_has_it(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 4)
    sender.happens(10)
    with listening(sender) as server:
        sending = sender.new()
        assert [sending.send() for _ in range(4)] == [4, 4, 2, 0]
    assert numbers(server.messages) == list(range(1, 11))
    assert server.connections == 3
    head = rb"<85>1 2026-03-01T12:00:00\.000\+00:00 \S+ vigie \d+ IHE\+RFC-3881 - \xef\xbb\xbf<\?xml"
    assert all(re.match(head, one) for one in server.messages)


def test_after_an_outage_and_a_broken_connection_nothing_is_missing(sender: Sender) -> None:
    sender.happens(3)
    sending = sender.new()
    with pytest.raises(DestinationUnavailable):
        sending.send()
    assert sender.store.audit_feeds.states()[0].backlog == 3
    with listening(sender) as server:
        server.breaks = 1  # it has read one, and is gone
        sender.happens(200)
        with pytest.raises(DestinationUnavailable):
            sending.send()
        assert sending.send() == 203
    assert sorted(set(numbers(server.messages))) == list(range(1, 204))
    assert numbers(server.messages)[-203:] == list(range(1, 204)), "the batch is sent again, whole and in order"
    assert sender.store.audit_feeds.states()[0].backlog == 0


def test_what_was_sent_and_not_noted_is_sent_again_by_the_next_process(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender.happens(2)

    def dies(*_: object, **__: object) -> None:
        raise StoreUnavailable("killed")

    with listening(sender) as server:
        with monkeypatch.context() as killed:
            killed.setattr(sender.store.audit_feeds, "told", dies)
            with pytest.raises(StoreUnavailable):
                sender.new().send()
        assert sender.new().send() == 0, "the dead one's claim holds for a while"
        sender.now = after(300)
        assert sender.new().send() == 2
    assert numbers(server.messages) == [1, 2, 1, 2]


def test_a_server_that_nobody_we_trust_has_signed_gets_nothing(sender: Sender, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger")
    theirs = stranger.certificate("127.0.0.1")
    sender.happens(1)
    with (
        syslog(theirs.certificate, theirs.key, port=sender.server.port) as server,
        pytest.raises(DestinationUnavailable, match=r"self-signed|unable to get local issuer"),
    ):
        sender.new().send()
    assert server.messages == []


def test_certificates_that_cannot_be_read_are_said_to_be_ours(sender: Sender, tmp_path: Path) -> None:
    server = SyslogServer(host="127.0.0.1", port=1, ca=tmp_path / "none.pem")
    with pytest.raises(CertificatesRefused):
        server.send([b"x"])


def test_the_head_is_kept_as_an_anchor_while_the_trail_grows(sender: Sender) -> None:
    sending = sender.new()
    assert not sending.keep_anchor()
    sender.happens(3)
    assert sending.keep_anchor()
    sender.happens(1)
    assert not sending.keep_anchor(), "an hour is not over"
    sender.now = after(3601)
    assert sending.keep_anchor()
    sender.now = after(9000)
    assert not sending.keep_anchor(), "nothing is new"
    anchors = read_anchors(sender.anchors.read_text().splitlines())
    assert [one.sequence for one in anchors] == [3, 4]
    assert check(sender.store.audit, anchors=anchors).breaks == ()
    assert json.loads(sender.anchors.read_text().splitlines()[1])["digest"] == sender.store.audit.head().digest
