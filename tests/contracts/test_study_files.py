"""The contract of `StudyFiles`: what was kept is found, whatever happens."""

import hashlib
import os
from pathlib import Path

import pytest

from services.backends.files import FolderStudyFiles, folder
from services.triage.errors import OutOfResources, Reason
from services.triage.ports import KeptFile
from tests.support.other_process import at_once, claim, keep_all, keep_for_ever, keep_or_settle, killed_after

BROKEN = Reason(code="not_dicom", text="not DICOM")


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def keep(files: FolderStudyFiles, content: bytes, sender: str = "CT1") -> KeptFile:
    return files.keep(content, digest=digest_of(content), received_from=sender)


def test_a_kept_file_is_found_with_its_bytes_and_waits_to_be_settled(files: FolderStudyFiles) -> None:
    kept = keep(files, b"slice")
    assert kept == KeptFile(digest=digest_of(b"slice"), size_bytes=5, received_from="CT1")
    assert files.path(kept.digest).read_bytes() == b"slice"
    assert list(files.pending()) == [kept]


def test_a_settled_file_is_found_and_no_longer_waits(files: FolderStudyFiles) -> None:
    kept = keep(files, b"slice")
    files.settle([kept.digest])
    files.settle([kept.digest])
    assert list(files.pending()) == []
    assert files.path(kept.digest).read_bytes() == b"slice"


def test_settling_some_leaves_the_others_waiting(files: FolderStudyFiles) -> None:
    kept = [keep(files, f"{number}".encode()) for number in range(5)]
    files.settle(one.digest for one in kept[1:4])
    assert list(files.pending()) == [kept[0], kept[4]]


def test_files_wait_in_the_order_of_their_arrival(files: FolderStudyFiles) -> None:
    kept = [keep(files, f"slice {number}".encode()) for number in range(20)]
    assert list(files.pending()) == kept


def test_the_same_bytes_again_are_stored_once(files: FolderStudyFiles) -> None:
    assert keep(files, b"slice") == keep(files, b"slice")
    assert len(list(files.pending())) == 1
    files.settle([digest_of(b"slice")])
    keep(files, b"slice")
    assert list(files.pending()) == []


def test_the_same_bytes_from_two_senders_are_settled_together(files: FolderStudyFiles) -> None:
    keep(files, b"slice", "CT1")
    keep(files, b"slice", "PACS")
    assert {one.received_from for one in files.pending()} == {"CT1", "PACS"}
    files.settle([digest_of(b"slice")])
    assert list(files.pending()) == []
    assert files.path(digest_of(b"slice")).read_bytes() == b"slice"


def test_the_tenant_survives_a_restart_and_of_a_tenant_the_same_bytes_wait_again(tmp_path: Path) -> None:
    files = FolderStudyFiles(tmp_path)
    digest = digest_of(b"slice")
    kept = files.keep(b"slice", digest=digest, received_from="CT1", tenant="hospital-a")
    assert list(FolderStudyFiles(tmp_path).pending()) == [kept]
    assert kept.tenant == "hospital-a"
    files.settle([digest], tenant="hospital-a")
    files.keep(b"slice", digest=digest, received_from="CT9", tenant="hospital-b")
    assert [(one.tenant, one.received_from) for one in files.pending()] == [("hospital-b", "CT9")]


def test_what_one_tenant_sent_is_settled_or_refused_and_the_same_bytes_of_another_are_not(
    files: FolderStudyFiles,
) -> None:
    digest = digest_of(b"slice")
    ours, theirs, unowned = (
        files.keep(b"slice", digest=digest, received_from="CT1", tenant=tenant) for tenant in ("a", "b", "")
    )
    files.refuse(theirs, BROKEN)
    files.refuse(theirs, BROKEN)
    assert {one.tenant for one in files.pending()} == {ours.tenant, unowned.tenant}
    assert [path.read_bytes() for path in files._quarantine.glob("*.bin")] == [b"slice"]
    files.settle([digest], tenant="a")
    assert list(files.pending()) == [unowned]
    assert files.path(digest).read_bytes() == b"slice"


def test_what_is_outdated_waits_again_until_it_is_erased(files: FolderStudyFiles) -> None:
    older, newer = keep(files, b"older"), keep(files, b"newer")
    files.outdate([older.digest])
    files.settle([older.digest, newer.digest])
    for _ in range(2):
        files.outdate([older.digest])
    for _ in range(2):
        assert [keep(files, content).digest for content in (b"older", b"newer")] == [older.digest, newer.digest]
        assert list(files.pending()) == [older]
        files.settle([older.digest])
    assert set(files.settled()) == {older.digest, newer.digest}
    files.erase([older.digest])
    assert not list(files._instances.rglob(f"{older.digest}*"))


def test_a_study_is_the_first_tenants_until_it_is_assigned(files: FolderStudyFiles) -> None:
    assert files.claim("1.2.3", "a") == files.claim("1.2.3", "b") == "a"
    assert files.claim("1.2.4", "b") == "b"
    files.assign("1.2.3", "b")
    files.assign("1.2.5", "a")
    assert [files.claim(uid, "c") for uid in ("1.2.3", "1.2.4", "1.2.5")] == ["b", "b", "a"]


def test_of_many_that_claim_a_study_at_once_one_has_it_and_all_agree(tmp_path: Path) -> None:
    for number in range(5):
        owners = at_once(claim, [(tmp_path, f"1.2.{number}", f"tenant-{one}") for one in range(4)])
        assert len(set(owners)) == 1
        assert owners[0] == FolderStudyFiles(tmp_path).claim(f"1.2.{number}", "late")
    assert not list(tmp_path.rglob("*.unfinished"))


def test_a_claim_that_cannot_be_written_is_out_of_resources(
    files: FolderStudyFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OutOfResources, match="No space left"):
        files.claim("1.2.3", "a")
    monkeypatch.undo()
    assert files.claim("1.2.3", "b") == "b"


@pytest.mark.parametrize("sender", ["CT1", "", "A/../B", "..", "2001:db8::1%eth0", "AE WITH SPACES  ", "x" * 96])
def test_the_sender_survives_a_restart_whatever_its_name(tmp_path: Path, sender: str) -> None:
    kept = keep(FolderStudyFiles(tmp_path), b"slice", sender)
    assert list(FolderStudyFiles(tmp_path).pending()) == [kept]
    assert kept.received_from == sender


def test_an_unknown_digest_is_not_found(files: FolderStudyFiles) -> None:
    with pytest.raises(FileNotFoundError):
        files.path(digest_of(b"never kept"))
    with pytest.raises(FileNotFoundError):
        files.result_path(digest_of(b"never kept"))


@pytest.mark.parametrize("words", ["../../etc/passwd", "", "ABC", "0" * 63 + "/", "0" * 65])
def test_no_word_from_outside_becomes_a_file_name(files: FolderStudyFiles, words: str) -> None:
    with pytest.raises(ValueError, match="not a SHA-256"):
        files.keep(b"slice", digest=words, received_from="CT1")
    with pytest.raises(ValueError, match="not a SHA-256"):
        files.path(words)
    with pytest.raises(ValueError, match="not a SHA-256"):
        files.result_path(words)


def test_a_result_object_is_found_by_the_digest_of_its_bytes(files: FolderStudyFiles) -> None:
    sha256 = files.keep_result(b"SEG")
    assert sha256 == files.keep_result(b"SEG") == digest_of(b"SEG")
    assert files.result_path(sha256).read_bytes() == b"SEG"
    assert list(files.pending()) == []


def test_what_could_not_be_understood_is_kept_with_its_reason(files: FolderStudyFiles) -> None:
    path = files.quarantine(b"junk", reason=BROKEN, received_from="CT1")
    assert path.read_bytes() == b"junk"
    assert "not_dicom" in path.with_suffix(".json").read_text()
    assert files.quarantine(b"junk", reason=BROKEN, received_from="CT1") == path
    assert list(files.pending()) == []


def test_every_instance_acknowledged_before_a_kill_is_found_after_restart(tmp_path: Path) -> None:
    acknowledged = killed_after(keep_for_ever, str(tmp_path), acknowledged=60)
    restarted = FolderStudyFiles(tmp_path)
    waiting = [one.digest for one in restarted.pending()]
    assert set(acknowledged) <= set(waiting)
    assert len(waiting) <= len(acknowledged) + 1
    for digest in waiting:
        assert digest_of(restarted.path(digest).read_bytes()) == digest


def test_processes_that_keep_the_same_files_while_another_settles_lose_none(tmp_path: Path) -> None:
    expected = keep_all(str(tmp_path), 60, "CT0")
    found = at_once(keep_or_settle, [(str(tmp_path), 60, sender) for sender in ("CT1", "CT2", "")])
    assert found == [expected] * 3
    files = FolderStudyFiles(tmp_path)
    files.settle(expected)
    assert list(files.pending()) == []
    assert [digest_of(files.path(digest).read_bytes()) for digest in expected] == expected
    assert len(list((tmp_path / "instances").rglob("*.dcm"))) == 60


def test_a_file_left_unfinished_by_a_kill_is_never_taken_for_an_instance(tmp_path: Path) -> None:
    files = FolderStudyFiles(tmp_path)
    (tmp_path / "inbox" / "0123.unfinished").write_bytes(b"half an inst")
    assert list(files.pending()) == []
    os.utime(tmp_path / "inbox" / "0123.unfinished", (0, 0))
    assert files.recover() == 1
    assert list((tmp_path / "inbox").iterdir()) == []


def test_recovery_leaves_what_a_living_process_may_be_writing(tmp_path: Path) -> None:
    files = FolderStudyFiles(tmp_path)
    (tmp_path / "inbox" / "0123.unfinished").write_bytes(b"half an inst")
    assert files.recover() == 0
    assert (tmp_path / "inbox" / "0123.unfinished").exists()


def test_room_for_a_result_is_asked_of_the_disk(files: FolderStudyFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    files.require_room()
    monkeypatch.setattr(folder, "ROOM_BYTES", 2**62)
    with pytest.raises(OutOfResources):
        files.require_room()
