"""Callers that were turned away: counted and told without end, and never waited for."""

import time
from pathlib import Path

import pytest

from services.backends.audit_spool import AuditSpool
from services.backends.store import open_store
from services.gateway.refusals import MOST_CALLERS, OTHERS, Refusal, RefusalDesk, Refused, RefusedFor, Tally, record
from services.settings import Settings
from services.triage.audit import AuditActor, AuditKind
from tests.support.peers import wait_until


def unknown(caller: str = "EVIL", address: str = "198.51.100.7") -> Refusal:
    return Refusal(reason=RefusedFor.UNKNOWN_TITLE, caller=caller, address=address)


def test_the_first_is_told_at_once_and_those_after_it_once_a_minute_with_their_count() -> None:
    tally = Tally()
    told = []
    for second in range(181):
        for _ in range(1000):
            tally.add(unknown())
        told += [(second, each.count) for each in tally.due(float(second))]
    assert told == [(0, 1000), (60, 60_000), (120, 60_000), (180, 60_000)]


def test_whoever_calls_himself_otherwise_each_time_does_not_fill_the_trail() -> None:
    tally = Tally()
    for number in range(10_000):
        tally.add(unknown(caller=f"E{number}", address=f"198.51.100.{number % 200}"))
    told = tally.due(0.0)
    assert len(told) <= MOST_CALLERS + 1
    assert sum(each.count for each in told) == 10_000
    assert {OTHERS} < {each.refusal.caller for each in told}


def test_what_was_not_told_yet_is_told_at_the_end() -> None:
    tally = Tally()
    tally.add(unknown())
    assert tally.due(0.0)
    tally.add(unknown())
    assert (tally.due(1.0), tally.rest()) == ((), (Refused(refusal=unknown(), count=1),))


def test_an_alert_stands_in_the_audit_trail_and_a_sender_with_too_much_is_only_counted(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    much = Refusal(reason=RefusedFor.QUOTA, caller="CT1", address="192.0.2.30")
    record(settings, [Refused(refusal=unknown(), count=7), Refused(refusal=much, count=2)])
    record(settings, [Refused(refusal=unknown(), count=3)])
    store = open_store(settings.store_url())
    assert store.refusals.totals() == {"unknown_title": 10, "quota": 2}
    store.close()
    events = [one.event for one in AuditSpool(tmp_path).pending(limit=10)]
    assert [one.objects[0].details["count"] for one in events] == ["7", "3"]
    assert {(one.kind, one.type, one.reason) for one in events} == {
        (AuditKind.SECURITY_ALERT, "association_rejected", "unknown_title")
    }
    assert events[0].actors == (AuditActor(name="EVIL", address="198.51.100.7"),)


def test_the_door_never_waits_for_who_writes_them_down(tmp_path: Path) -> None:
    """The writer sleeps, as if the database did not answer; the parent goes on at once, and has one writer only."""
    written = tmp_path / "written"

    def slowly(refused: object) -> None:
        with written.open("a") as file:
            file.write("x")
        time.sleep(5)

    desk = RefusalDesk(slowly)
    started = time.monotonic()
    for _ in range(3):
        desk.tell(unknown())
        desk.attend(())
    assert time.monotonic() - started < 2
    wait_until(lambda: written.exists() and written.read_text(), what="a writer")
    assert written.read_text() == "x"


def test_without_the_database_the_event_waits_and_the_log_has_the_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = "postgresql://nobody@127.0.0.1:1/none"
    record(Settings(data=tmp_path, database_url=gone), [Refused(refusal=unknown(), count=7)])
    assert "refusals_not_counted" in "".join(capsys.readouterr())
    assert AuditSpool(tmp_path).count() == 1
