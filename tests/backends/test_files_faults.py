"""A folder that fails: no acknowledgement, nothing left behind, and the next try works."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from services.backends.files import FolderStudyFiles
from services.triage.errors import OutOfResources, Reason

CONTENT = b"slice" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def left_over(root: Path) -> list[str]:
    return [path.name for path in root.rglob("*") if path.is_file()]


@pytest.mark.parametrize("call", ["write", "fsync", "open", "rename"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO], ids=errno.errorcode.get)
def test_an_instance_that_cannot_be_kept_is_not_acknowledged_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    files = FolderStudyFiles(tmp_path)

    def fail(*_args: object, **_options: object) -> int:
        raise OSError(code, os.strerror(code))

    target = (Path, "rename") if call == "rename" else (os, call)
    monkeypatch.setattr(*target, fail)
    with pytest.raises(OutOfResources):
        files.keep(CONTENT, digest=DIGEST, received_from="CT1")
    with pytest.raises(OutOfResources):
        files.keep_result(CONTENT)
    with pytest.raises(OutOfResources):
        files.quarantine(CONTENT, reason=Reason(code="junk", text="junk"), received_from="CT1")
    monkeypatch.undo()
    assert left_over(tmp_path) == []
    files.keep(CONTENT, digest=DIGEST, received_from="CT1")
    assert files.path(DIGEST).read_bytes() == CONTENT


def test_a_disk_that_fills_in_the_middle_of_a_file_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = FolderStudyFiles(tmp_path)
    write, room = os.write, [1000, 500]

    def nearly_full(descriptor: int, content: bytes) -> int:
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, content[: room.pop()])

    monkeypatch.setattr(os, "write", nearly_full)
    with pytest.raises(OutOfResources, match="No space left"):
        files.keep(CONTENT, digest=DIGEST, received_from="CT1")
    assert left_over(tmp_path) == []


def test_a_file_written_in_several_pieces_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = FolderStudyFiles(tmp_path)
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, content[:700]))
    files.keep(CONTENT, digest=DIGEST, received_from="CT1")
    assert files.path(DIGEST).read_bytes() == CONTENT


def test_success_is_said_only_after_file_and_directory_are_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = FolderStudyFiles(tmp_path)
    fsync, rename, done = os.fsync, Path.rename, []

    def noted_fsync(descriptor: int) -> None:
        done.append("folder" if Path(f"/proc/self/fd/{descriptor}").resolve().is_dir() else "file")
        fsync(descriptor)

    def noted_rename(source: Path, target: Path) -> Path:
        done.append("rename")
        return rename(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    files.keep(CONTENT, digest=DIGEST, received_from="CT1")
    # the rename is undone by a power cut at most, and then done again at start: see FolderStudyFiles.recover
    assert done == ["file", "folder", "rename"]
    done.clear()
    files.keep(CONTENT, digest=DIGEST, received_from="CT1")
    assert done == ["folder"]
