"""`vigie backup` and `vigie restore`, of what may be damaged, missing, in work or on its way."""

import shutil
import threading
from datetime import UTC, datetime, timedelta

import pytest

from services.backends.backup import copying
from services.triage.errors import Reason
from services.triage.finding import Outcome
from services.triage.job import JobState
from services.triage.result import DeliveryState
from tests.support.backups import backup, backup_later, lose, vigie
from tests.support.house import House, chest_with_ball


@pytest.fixture
def house(tmp_path, monkeypatch):
    monkeypatch.setenv("VIGIE_DATA", str(tmp_path / "data"))
    return House(data=tmp_path / "data", send_to=(str(tmp_path / "out"),))


def files(folder, kind):
    return sorted((folder / "files" / kind).rglob("*.dcm"))


@pytest.mark.parametrize("harm", ["cut", "changed", "missing", "database"])
def test_a_copy_that_is_not_whole_is_found(house, harm):
    house.freeze(chest_with_ball())
    folder = backup(house)
    assert vigie("backup", "verify", folder).exit_code == 0
    victim = files(folder, "instances")[3]
    content = victim.read_bytes()
    match harm:
        case "cut":
            victim.write_bytes(content[:-1])
        case "changed":
            victim.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "missing":
            victim.unlink()
        case "database":
            victim = next((folder / "snapshots").rglob("database.sqlite"))
            victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    found = vigie("backup", "verify", folder)
    assert found.exit_code == 1
    assert victim.name in found.output


def test_a_second_copy_takes_only_what_is_new_and_the_oldest_leave_with_what_only_they_had(house, monkeypatch):
    gone = house.freeze(chest_with_ball())
    folder = backup(house)
    first = {path: path.stat().st_mtime_ns for path in files(folder, "instances")}
    inode = {path: path.stat().st_ino for path in first}
    house.files.erase(house.store.retaining.digests(gone))
    house.freeze(chest_with_ball())
    backup_later(house, monkeypatch)
    assert {path: path.stat().st_ino for path in first} == inode
    assert len(files(folder, "instances")) == 2 * len(first)
    pruned = vigie("backup", "prune", folder, "--keep", 1)
    assert "1 backups taken away" in pruned.stdout
    assert not set(files(folder, "instances")) & set(first)


@pytest.fixture
def two(house, monkeypatch):
    """A folder with two backups: the folder, and the snapshots, oldest first."""
    house.freeze(chest_with_ball())
    folder = backup(house)
    backup_later(house, monkeypatch)
    return folder, sorted((folder / "snapshots").iterdir())


def make_unreadable(snapshot, harm):
    manifest = snapshot / "manifest.json"
    manifest.unlink() if harm == "missing" else manifest.write_bytes(b"\xff{")


@pytest.mark.parametrize("harm", ["missing", "damaged"])
@pytest.mark.parametrize("victim", [0, 1], ids=["oldest", "newest"])
def test_a_copy_that_cannot_be_read_keeps_no_other_from_being_put_back(house, two, victim, harm):
    folder, found = two
    bad, good = found[victim], found[1 - victim]
    make_unreadable(bad, harm)
    listed = vigie("backup", "list", folder)
    assert listed.exit_code == 1
    assert good.name in listed.stdout
    assert str(bad) in listed.stderr
    newest = vigie("backup", "verify", folder)
    assert newest.exit_code == 1
    assert str(bad) in newest.stdout
    assert f"{good.name}: " in newest.stderr
    assert vigie("backup", "verify", folder, "--snapshot", good.name).exit_code == 0
    lose(house)
    assert vigie("restore", folder, "--snapshot", bad.name).exit_code == 1
    assert not list((house.data / "instances").rglob("*.dcm"))
    restored = vigie("restore", folder)
    assert restored.exit_code == 1, "an erasure that only the other told of may be missing"
    assert f"{bad} has no manifest that can be read: what was erased by then may be back" in restored.stdout
    assert f"restored {good.name}" in restored.stdout
    assert len(list((house.data / "instances").rglob("*.dcm"))) == 20


def test_a_copy_that_cannot_be_read_goes_when_it_is_old_and_until_then_nothing_goes(two):
    folder, (old, new) = two
    make_unreadable(new, "damaged")
    refused = vigie("backup", "prune", folder, "--keep", 1)
    assert refused.exit_code == 1
    assert str(new) in refused.stderr
    assert vigie("backup", "verify", folder, "--snapshot", old.name).exit_code == 0
    shutil.rmtree(new)
    shutil.copytree(old, new)
    make_unreadable(old, "missing")
    assert vigie("backup", "prune", folder, "--keep", 1).exit_code == 0
    assert not old.exists()
    assert vigie("backup", "verify", folder).exit_code == 0


def test_a_copy_that_is_being_taken_away_is_none_from_the_first_moment(two, monkeypatch):
    folder, (old, new) = two
    with monkeypatch.context() as killed:
        killed.setattr(shutil, "rmtree", lambda path, **_: (path / "manifest.json").unlink())
        vigie("backup", "prune", folder, "--keep", 1)
    assert [path.name for path in (folder / "snapshots").iterdir() if path != new] == [f"{old.name}.unfinished"]
    assert vigie("backup", "verify", folder).exit_code == 0
    assert vigie("backup", "prune", folder, "--keep", 1).exit_code == 0
    assert list((folder / "snapshots").iterdir()) == [new]


def test_nobody_takes_away_the_files_of_a_copy_that_is_being_made(house, monkeypatch):
    house.freeze(chest_with_ball())
    folder = house.data.parent / "backup"
    copy, answers = copying.copy, []

    def copy_then_prune(*words):
        size = copy(*words)
        if not answers:
            answers.append(vigie("backup", "prune", folder, "--keep", 1))
        return size

    monkeypatch.setattr(copying, "copy", copy_then_prune)
    assert backup(house) == folder
    assert answers[0].exit_code == 1
    assert "try again when that has ended" in answers[0].output
    assert vigie("backup", "verify", folder).exit_code == 0
    assert vigie("backup", "prune", folder, "--keep", 1).exit_code == 0


def test_what_was_in_work_is_done_again_and_what_came_during_the_copy_is_recorded(house):
    uid = house.queue_study(chest_with_ball())
    assert house.store.lease_next(worker="w", now=datetime.now(UTC), duration=timedelta(hours=9)) is not None
    late = chest_with_ball()
    folder = backup(house)
    kept = house.keep(late)
    house.files.settle(one.digest for one, _ in kept)
    for path in (house.data / "instances").rglob("*.dcm"):
        target = folder / "files" / path.relative_to(house.data)
        target.parent.mkdir(exist_ok=True)
        shutil.copy2(path, target)
    listed = next((folder / "snapshots").iterdir())
    _list_again(folder, listed)

    house = lose(house)
    restored = vigie("restore", folder)
    assert restored.exit_code == 0, restored.output
    assert "1 jobs will run again, 20 images that came during the backup" in restored.output
    house.dispatch()
    assert house.work() is not None
    assert {job.state for job in house.jobs(uid)} == {JobState.FROZEN}
    assert house.store.board.study(str(late[0].StudyInstanceUID)) is not None


def _list_again(folder, snapshot):
    """As if the files that came meanwhile had been copied with the others."""
    from services.backends.backup.manifest import Snapshot, write_list, write_manifest

    told = Snapshot(snapshot).manifest
    root = folder / "files"
    found = [(path.relative_to(root).as_posix(), path.stat().st_size) for path in root.rglob("*") if path.is_file()]
    write_manifest(snapshot, told.model_copy(update={"list_sha256": write_list(snapshot, found)}))


@pytest.mark.parametrize("hold", [False, True])
def test_what_was_pending_goes_again_or_waits_for_a_person(house, hold):
    uid = house.freeze(chest_with_ball())
    (before,) = house.result(uid).deliveries
    folder = backup(house)
    house = lose(house)
    told = vigie("restore", folder, *(["--hold-deliveries"] if hold else []))
    assert ("are held" if hold else "the same bytes") in told.output
    (after,) = house.result(uid).deliveries
    assert after.state is (DeliveryState.GIVEN_UP if hold else DeliveryState.PENDING)
    assert after.delivery_id == before.delivery_id
    if hold:
        assert vigie("deliveries", "resend", "--all").exit_code == 0
    assert house.store.claim_delivery(house.send_to[0], now=datetime.now(UTC), duration=timedelta(minutes=1))


def test_a_patient_who_was_erased_since_does_not_come_back(house, monkeypatch):
    uid = house.freeze(chest_with_ball(PatientID="PID-7"))
    folder = backup(house)
    (old,) = [path.name for path in (folder / "snapshots").iterdir()]
    assert vigie("patient", "erase", "--id", "PID-7", "--reason", "request 3", "--yes").exit_code == 0
    backup_later(house, monkeypatch)
    house = lose(house)
    restored = vigie("restore", folder, "--snapshot", old)
    assert "1 studies were erased again" in restored.output
    assert house.store.board.study(uid) is None
    assert not list((house.data / "instances").rglob("*.dcm"))


def test_a_file_that_the_copy_lacks_is_named_and_the_rest_is_put_back(house):
    uid = house.freeze(chest_with_ball())
    folder = backup(house)
    lost = files(folder, "instances")[0]
    lost.unlink()
    house = lose(house)
    restored = vigie("restore", folder)
    assert restored.exit_code == 1
    assert f"image {lost.stem}" in restored.output
    assert house.result(uid).outcome is Outcome.FOUND


def test_nothing_is_put_over_what_is_there_nor_copied_into_itself(house):
    house.freeze(chest_with_ball())
    folder = backup(house)
    assert vigie("restore", folder).exit_code == 1
    assert vigie("backup", "make", house.data / "backup").exit_code == 1
    assert vigie("restore", house.data.parent / "nowhere").exit_code == 1


def test_while_a_backup_is_made_nobody_deletes(house, monkeypatch):
    from services.cli import backup as command

    house.freeze(chest_with_ball(PatientID="PID-7"))
    claim = house.store.retaining.claim(now=datetime.now(UTC), duration=timedelta(hours=1))
    monkeypatch.setattr(command, "PATIENCE_S", 0.0)
    refused = vigie("patient", "erase", "--id", "PID-7", "--reason", "request 3", "--yes")
    assert refused.exit_code == 1
    assert vigie("patient", "find", "--id", "PID-7").exit_code == 0
    house.store.retaining.release(claim)
    due = house.store.claim_delivery(house.send_to[0], now=datetime.now(UTC), duration=timedelta(minutes=1))
    monkeypatch.setattr("services.cli.patient.WAIT_S", 0.0)
    sending = vigie("patient", "erase", "--id", "PID-7", "--reason", "request 3", "--yes")
    assert "being sent at this moment" in sending.output
    assert len(list((house.data / "instances").rglob("*.dcm"))) == 20
    house.store.delivery_failed(due, Reason(code="x", text="y"), now=datetime.now(UTC), retry_at=None)
    assert vigie("patient", "erase", "--id", "PID-7", "--reason", "request 3", "--yes").exit_code == 0


def taken_over(house):
    """As if this process had been away for so long that its claim ran out, and another had taken it."""
    hour = timedelta(hours=1)
    return house.store.retaining.claim(now=datetime.now(UTC) + hour, duration=hour)


def test_a_backup_that_others_may_have_deleted_beside_is_none(house, monkeypatch):
    house.freeze(chest_with_ball())
    folder, copy, taken = house.data.parent / "backup", copying.copy, []

    def take_over(*words):
        if not taken:
            taken.append(taken_over(house))
        return copy(*words)

    monkeypatch.setattr(copying, "copy", take_over)
    made = vigie("backup", "make", folder)
    assert made.exit_code == 1
    assert "has taken over" in made.stderr
    assert [path.suffix for path in (folder / "snapshots").iterdir()] == [".unfinished"]
    assert house.store.retaining.renew(taken[0], now=datetime.now(UTC), duration=timedelta(seconds=-1)), "left to it"
    assert vigie("backup", "make", folder).exit_code == 0


def test_a_backup_whose_claim_is_lost_is_not_brought_to_its_end(house, monkeypatch):
    from services.backends.backup import making
    from services.cli import backup as command

    house.freeze(chest_with_ball())
    folder, copy_database = house.data.parent / "backup", making.copy_database
    lost = threading.Event()

    class Claim(command.FileClaim):
        def renew(self):
            super().renew()
            if self.lost.is_set():
                lost.set()

    def take_over(*words):
        taken_over(house)
        assert lost.wait(20)
        return copy_database(*words)

    monkeypatch.setattr(command, "CLAIM_S", 0.6)
    monkeypatch.setattr(command, "FileClaim", Claim)
    monkeypatch.setattr(making, "copy_database", take_over)
    made = vigie("backup", "make", folder)
    assert "has taken over" in made.stderr
    assert not files(folder, "instances")


def test_an_erasure_that_a_backup_may_run_beside_stops_and_is_taken_up_again(house, monkeypatch):
    from services.gateway.erasure import Erasure

    house.freeze(chest_with_ball(PatientID="PID-7"))
    begin = Erasure._begin

    def begin_and_take_over(*words):
        begun = begin(*words)
        taken.append(taken_over(house))
        return begun

    taken = []
    erase = ("patient", "erase", "--id", "PID-7", "--reason", "request 3", "--yes")
    with monkeypatch.context() as paused:
        paused.setattr(Erasure, "_begin", begin_and_take_over)
        stopped = vigie(*erase)
    assert stopped.exit_code == 1
    assert "has taken over" in stopped.stderr
    assert len(list((house.data / "instances").rglob("*.dcm"))) == 20
    house.store.retaining.release(taken[0])
    assert vigie(*erase).exit_code == 0
    assert not list((house.data / "instances").rglob("*.dcm"))
