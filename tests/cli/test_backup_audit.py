"""`vigie backup` and `vigie restore` of the audit trail: its anchors, and events that are not in the database yet."""

import json
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest

from services.backends.audit_spool import AuditSpool
from services.backends.backup import copying, making
from services.deliver.auditing import auditing
from services.gateway.audit.settling import settling
from services.triage.audit import AuditActor
from services.triage.audit_types import AuditType, audited
from services.triage.errors import OutOfResources, Reason
from tests.support.backups import backup, backup_later, lose, vigie
from tests.support.house import House


@dataclass
class Trail:
    """The audit trail of a house, with what its programs do for it."""

    house: House

    @property
    def folder(self) -> Path:
        return self.house.data / "audit"

    @property
    def anchors(self) -> Path:
        return self.folder / "anchors.jsonl"

    def happens(self, *names: str, most: int = 100) -> None:
        """Somebody signs in: an event that waits in the spool."""
        for name in names:
            event = audited(AuditType.SIGN_IN, AuditActor(name=name))
            AuditSpool(self.house.data, most=most).add(event, now=datetime.now(UTC))

    def settle(self) -> None:
        """A turn of the dispatcher."""
        settling(AuditSpool(self.house.data), self.house.store.audit).turn(datetime.now(UTC))

    def anchor(self) -> None:
        """Deliver adds the trail's head to the file of anchors."""
        sender = auditing(self.house.store, self.house.settings, Event())
        assert replace(sender, anchor_every=timedelta(0)).keep_anchor()

    def told(self) -> list[dict]:
        return [json.loads(one.document) for one in self.house.store.audit.records()]

    def signed_in(self) -> Counter[str]:
        return Counter(one["actors"][0]["name"] for one in self.told() if one["type"] == "sign_in")

    def restored(self, folder: Path, *words: str) -> "Trail":
        """The house is lost, put back, and its dispatcher has had a turn."""
        after = Trail(lose(self.house))
        done = vigie("restore", folder, *words)
        assert done.exit_code == 0, done.output
        after.settle()
        return after

    def is_whole(self) -> str:
        """What `vigie audit verify` says of it, held against its anchors."""
        said = vigie("audit", "verify", "--anchor", self.anchors)
        assert said.exit_code == 0, said.output
        return str(said.stdout)


@pytest.fixture
def trail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trail:
    """A trail of three records and two anchors, and an event that waits."""
    monkeypatch.setenv("VIGIE_DATA", str(tmp_path / "data"))
    trail = Trail(House(data=tmp_path / "data", send_to=(str(tmp_path / "out"),)))
    for name in ("first", "second"):
        trail.happens(name)
        trail.settle()
        trail.anchor()
    trail.happens("third")
    trail.settle()
    trail.happens("waits")
    return trail


def test_anchors_and_events_that_wait_are_put_back_and_each_event_is_in_the_trail_once(trail: Trail) -> None:
    (trail.folder / "damaged").mkdir()
    (trail.folder / "damaged" / "odd.json").write_text("{")
    (trail.folder / "août.bin").write_text("an export that somebody put here")
    anchors = trail.anchors.read_bytes()
    folder = backup(trail.house)
    assert vigie("backup", "verify", folder).exit_code == 0
    after = trail.restored(folder)
    assert after.signed_in() == {"first": 1, "second": 1, "third": 1, "waits": 1}
    assert after.anchors.read_bytes() == anchors
    assert "2 of 2 anchors lie in it, and agree" in after.is_whole()
    assert (after.folder / "damaged" / "odd.json").read_text() == "{"
    assert (after.folder / "août.bin").exists()


def test_of_a_trail_that_is_cut_after_a_restore_the_anchors_tell(trail: Trail) -> None:
    after = trail.restored(backup(trail.house))
    with closing(sqlite3.connect(after.house.data / "vigie.sqlite")) as database, database:
        database.execute("DROP TRIGGER audit_record_delete")
        database.execute("DELETE FROM audit_record WHERE sequence > 1")
        database.execute("UPDATE audit_feed SET sequence = 1")
    assert vigie("audit", "verify").stdout.startswith("whole: 1 records")
    cut = vigie("audit", "verify", "--anchor", after.anchors)
    assert (cut.exit_code, "an anchor of" in cut.stdout) == (1, True)


@pytest.mark.parametrize("moment", ["a file is copied", "the database is copied", "the files are copied"])
def test_an_event_that_enters_the_database_while_a_copy_is_made_is_in_it_once(
    trail: Trail, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    trail.house.files.quarantine(b"odd", reason=Reason(code="odd", text="odd"), received_from="CT1")
    begun = []

    def meanwhile() -> None:
        """All parts go on: what waits is settled, more comes and is settled, too, and there is another anchor."""
        if not begun:
            begun.append(True)
            trail.settle()
            trail.happens("late")
            trail.settle()
            trail.anchor()

    copy, copy_database = copying.copy, making.copy_database

    def copied(root: Path, target: Path, name: str) -> object:
        if moment == "a file is copied" or (moment == "the files are copied" and name.startswith("quarantine")):
            meanwhile()
        return copy(root, target, name)

    def database_copied(*words: object) -> str:
        if moment == "the database is copied":
            meanwhile()
        return copy_database(*words)

    monkeypatch.setattr(copying, "copy", copied)
    monkeypatch.setattr(making, "copy_database", database_copied)
    folder = backup(trail.house)
    assert begun
    after = trail.restored(folder)
    late = {} if moment == "the files are copied" else {"late": 1}
    assert after.signed_in() == {"first": 1, "second": 1, "third": 1, "waits": 1, **late}
    after.is_whole()


@pytest.mark.parametrize("moment", ["before", "meanwhile", "never", "never, and no other waits"])
def test_how_many_events_found_no_room_is_told_once(trail: Trail, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    for _ in range(3):
        with pytest.raises(OutOfResources):
            trail.happens("no room", most=1)
    if moment == "before":
        trail.settle()
    if "no other" in moment:
        for waits in (trail.folder / "spool").iterdir():
            waits.unlink()
    copy_database = making.copy_database

    def settled_first(*words: object) -> str:
        if moment == "meanwhile":
            trail.settle()
        return copy_database(*words)

    monkeypatch.setattr(making, "copy_database", settled_first)
    after = trail.restored(backup(trail.house))
    (dropped,) = [one for one in after.told() if one["type"] == "events_dropped"]
    assert dropped["objects"][0]["details"] == {"events": "3"}


def test_an_older_copy_keeps_its_own_anchors_and_events_when_they_change(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    anchors = trail.anchors.read_bytes()
    folder = backup(trail.house)
    (old,) = (path.name for path in (folder / "snapshots").iterdir())
    trail.settle()
    trail.anchor()
    backup_later(trail.house, monkeypatch)
    for words in ((), ("--snapshot", old)):
        assert vigie("backup", "verify", folder, *words).exit_code == 0
    after = trail.restored(folder, "--snapshot", old)
    assert after.anchors.read_bytes() == anchors
    after.is_whole()


def test_a_damaged_copy_of_an_event_is_found(trail: Trail) -> None:
    folder = backup(trail.house)
    (event,) = (folder / "files" / "audit" / "spool").iterdir()
    event.write_bytes(event.read_bytes().replace(b"waits", b"slept"))
    found = vigie("backup", "verify", folder)
    assert (found.exit_code, event.name in found.stdout) == (1, True)


def test_events_of_the_new_machine_are_no_hindrance_but_anchors_of_another_trail_are(trail: Trail) -> None:
    folder = backup(trail.house)
    after = Trail(lose(trail.house))
    after.happens("set it up")
    after.anchors.write_text("{}\n")
    refused = vigie("restore", folder)
    assert (refused.exit_code, "holds files, such as audit/" in refused.stderr) == (1, True)
    after.anchors.unlink()
    assert vigie("restore", folder).exit_code == 0
    after.settle()
    assert after.signed_in() == {"first": 1, "second": 1, "third": 1, "waits": 1, "set it up": 1}
