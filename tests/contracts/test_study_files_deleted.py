"""The contract of `StudyFiles` where files go: what nobody sent again goes, and nothing else."""

import os
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.backends.files import FolderStudyFiles, deletion
from services.triage.errors import Reason
from tests.contracts.test_study_files import digest_of, keep

OLD = timedelta(days=30)


def now() -> datetime:
    return datetime.now(UTC)


def settled(files: FolderStudyFiles, content: bytes, *, age: timedelta = OLD) -> str:
    digest = keep(files, content).digest
    files.settle([digest])
    then = time.time() - age.total_seconds()
    os.utime(files.path(digest), (then, then))
    return digest


def test_old_files_go_and_deleting_them_again_changes_nothing(files: FolderStudyFiles) -> None:
    digests = [settled(files, b"slice %d" % number) for number in range(5)]
    kept = settled(files, b"another")
    deleted = files.delete(digests, not_newer_than=now() - timedelta(days=14))
    assert (deleted.size_bytes, deleted.came_again) == (5 * len(b"slice 0"), {})
    for digest in digests:
        with pytest.raises(FileNotFoundError):
            files.path(digest)
    assert files.path(kept).read_bytes() == b"another"
    assert files.delete(digests, not_newer_than=now()).size_bytes == 0


def test_what_is_sent_again_while_it_is_to_go_stays(files: FolderStudyFiles) -> None:
    again, gone = settled(files, b"again"), settled(files, b"gone")
    keep(files, b"again")
    deleted = files.delete([again, gone], not_newer_than=now() - timedelta(days=14))
    assert set(deleted.came_again) == {again}
    assert now() - deleted.came_again[again] < timedelta(minutes=1)
    assert files.path(again).read_bytes() == b"again"
    assert files.size(gone) == 0


def test_what_is_sent_again_once_it_is_gone_is_kept_anew(files: FolderStudyFiles) -> None:
    digest = settled(files, b"slice")
    files.delete([digest], not_newer_than=now())
    kept = keep(files, b"slice")
    assert list(files.pending()) == [kept]
    # a deletion that goes on after a kill leaves it, wherever it lies by then
    assert files.delete([digest], not_newer_than=now() - OLD).size_bytes == 0
    files.settle([digest])
    assert files.delete([digest], not_newer_than=now() - OLD).came_again.keys() == {digest}
    assert files.path(digest).read_bytes() == b"slice"


@pytest.mark.parametrize("newer", [False, True])
def test_a_deletion_that_was_killed_halfway_is_brought_to_its_end(tmp_path: Path, newer: bool) -> None:
    files = FolderStudyFiles(tmp_path)
    digest = settled(files, b"slice", age=timedelta(0) if newer else OLD)
    files.path(digest).rename(tmp_path / "deleting" / f"{digest}.dcm")
    restarted = FolderStudyFiles(tmp_path)
    deleted = restarted.delete([digest], not_newer_than=now() - timedelta(days=14))
    assert set(deleted.came_again) == ({digest} if newer else set())
    assert restarted.size(digest) == (5 if newer else 0)
    assert list((tmp_path / "deleting").iterdir()) == []


def test_nothing_that_was_acknowledged_is_lost_however_resend_and_deletion_meet(
    files: FolderStudyFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "FRESH_S", -1.0)  # each resend touches
    contents = [b"slice %d" % number for number in range(200)]
    digests = [settled(files, content) for content in contents]
    cutoff = now() - timedelta(days=14)
    sender = threading.Thread(target=lambda: [keep(files, content) for content in contents])
    sender.start()
    while sender.is_alive():
        files.delete(digests, not_newer_than=cutoff)
    sender.join()
    files.delete(digests, not_newer_than=cutoff)
    assert [files.path(digest).read_bytes() for digest in digests] == contents


def test_erasing_takes_what_waits_and_what_is_settled_whenever_it_came(files: FolderStudyFiles) -> None:
    waiting, here = keep(files, b"waiting").digest, settled(files, b"settled", age=timedelta(0))
    other = keep(files, b"other").digest
    assert files.erase([waiting, here]) == len(b"waiting" + b"settled")
    assert [one.digest for one in files.pending()] == [other]
    assert files.size(here) == 0
    assert files.erase([waiting, here]) == 0


def test_results_and_refused_files_go_by_name(files: FolderStudyFiles) -> None:
    seg, sr = files.keep_result(b"SEG"), files.keep_result(b"SR")
    assert set(files.results(not_newer_than=now())) == {seg, sr}
    assert list(files.results(not_newer_than=now() - OLD)) == []
    assert files.erase_results([seg, seg]) == 3
    assert set(files.results(not_newer_than=now())) == {sr}
    refused = files.quarantine(b"junk", reason=Reason(code="not_dicom", text="not DICOM"), received_from="CT1")
    assert list(files.quarantined()) == [refused]
    files.erase_quarantined([refused])
    assert list(refused.parent.iterdir()) == []


def test_a_study_that_is_nobodys_again_is_the_next_tenants(files: FolderStudyFiles) -> None:
    files.claim("1.2.3", "a")
    files.disown("1.2.3")
    files.disown("1.2.4")
    assert files.claim("1.2.3", "b") == "b"


@pytest.mark.parametrize("words", ["../../etc/passwd", "", "ABC"])
def test_no_word_from_outside_is_deleted(files: FolderStudyFiles, words: str) -> None:
    for method in (lambda: files.delete([words], not_newer_than=now()), lambda: files.erase([words])):
        with pytest.raises(ValueError, match="not a SHA-256"):
            method()
    with pytest.raises(ValueError, match="not a SHA-256"):
        files.erase_results([words])


def test_a_resend_is_as_durable_as_what_was_kept_anew(files: FolderStudyFiles) -> None:
    digest = settled(files, b"slice")
    before = files.path(digest).stat().st_mtime
    keep(files, b"slice")
    assert files.path(digest).stat().st_mtime - before > OLD.total_seconds() - 60
    assert digest == digest_of(b"slice")
