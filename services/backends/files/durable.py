"""Writing a file so that it is whole or absent after a kill or a power cut at any instruction."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from services.triage.errors import OutOfResources

UNFINISHED = ".unfinished"


def write(content: bytes, target: Path, *, via: Path) -> None:
    """Write, fsync, rename, fsync the directory. `via`: a folder of the same file system for the unfinished file.

    A target that is there already is whole (only a rename makes it), so only its directory entry is made sure.
    Raises OutOfResources for every error of the file system; the unfinished file is removed.
    """
    with as_out_of_resources():
        if not target.exists():
            with _unfinished(content, via) as unfinished:
                move(unfinished, target)
        sync_folder(target.parent)


def write_first(content: bytes, target: Path, *, via: Path) -> None:
    """As `write`, but of several processes that write different bytes one is first: its bytes stay."""
    with as_out_of_resources():
        make_folder(target.parent)
        with _unfinished(content, via) as unfinished, suppress(FileExistsError):
            os.link(unfinished, target)
        sync_folder(target.parent)


def replace(content: bytes, target: Path, *, via: Path) -> None:
    """As `write`, but in the place of what is there."""
    with as_out_of_resources():
        make_folder(target.parent)
        with _unfinished(content, via) as unfinished:
            unfinished.replace(target)
        sync_folder(target.parent)


def write_self_told(content: bytes, target: Path, *, unfinished: Path) -> None:
    """As `write`, but the rename comes last and is not waited for: one wait for the disk's journal instead of two.

    After a power cut the bytes may still lie under `unfinished`, whole: its name must tell what becomes of it (see
    FolderStudyFiles.recover). A target that is there is whole, too. Both names are in one folder.
    """
    with as_out_of_resources():
        if not target.exists():
            try:
                _write_synced(content, unfinished)
                sync_folder(unfinished.parent)
                move(unfinished, target)
            except BaseException:
                unfinished.unlink(missing_ok=True)
                raise
        else:
            sync_folder(target.parent)


def move(source: Path, target: Path) -> None:
    """Rename within the file system, making the target's folder if need be. A source that is gone was moved before."""
    try:
        source.rename(target)
    except FileNotFoundError:
        if target.parent.exists():
            if target.exists():
                return
            raise
        target.parent.mkdir(exist_ok=True)
        sync_folder(target.parent.parent)
        move(source, target)


def sync_folder(folder: Path) -> None:
    """Make the entries of a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path, older_than: timedelta) -> int:
    """Remove unfinished files of at least this age; answers how many."""
    oldest_kept = time.time() - older_than.total_seconds()
    left_behind = [path for path in folder.glob(f"*{UNFINISHED}") if path.stat().st_mtime <= oldest_kept]
    for path in left_behind:
        path.unlink(missing_ok=True)
    return len(left_behind)


def _write_synced(content: bytes, path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        # the kernel stamps files by its tick of some milliseconds, too coarse for their order of arrival
        os.utime(descriptor, ns=(time.time_ns(),) * 2)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _unfinished(content: bytes, via: Path) -> Iterator[Path]:
    """A file with these bytes, synced, that is gone at the end unless it was renamed."""
    path = via / f"{uuid4().hex}{UNFINISHED}"
    try:
        _write_synced(content, path)
        yield path
    finally:
        path.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder with those above it, each entry durable."""
    if not folder.exists():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


@contextmanager
def as_out_of_resources() -> Iterator[None]:
    """Every error of the file system as OutOfResources."""
    try:
        yield
    except OSError as error:
        raise OutOfResources(f"cannot keep a file: {error.strerror}") from error
