"""Files that go: received ones by retention or erasure, results, what lies in quarantine.

    deleting/<digest>.dcm              out of its place, and about to go or to go back

A file that a sender sends again while it is deleted stays. Who keeps it (`again`) touches it in its place; who deletes
it takes it out of its place first and looks at its time then. Both are one step of the file system, so that one of the
two sees the other: either the touch finds the file gone, and the bytes are written anew, or the deletion finds it new.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

from services.backends.files import durable
from services.triage.ports import Deleted

FRESH_S = 3600.0
"""What was kept in the last hour is not touched again: a resend comes soon, and retention counts in days."""


def again(settled: Path) -> bool:
    """Whether a file is there; then it is as if it had come just now, durably. Raises OutOfResources."""
    with durable.as_out_of_resources():
        try:
            if time.time() - settled.stat().st_mtime > FRESH_S:
                # by its path, not by a descriptor: that would touch it wherever it has gone
                os.utime(settled)
                _sync_file(settled)
        except FileNotFoundError:
            return False
    return True


def delete(digests: Iterable[str], place: Callable[[str], Path], aside: Path, *, not_newer_than: datetime) -> Deleted:
    """Delete settled files, but for those that came, or came again, after a time; durable when it returns."""
    came_again: dict[str, datetime] = {}
    freed, folders = 0, {aside}
    for digest in digests:
        settled, gone = place(digest), aside / f"{digest}.dcm"
        if _moved(settled, gone):
            folders.add(settled.parent)
        size, kept_at = _looked_at(gone)
        if kept_at is None:
            continue
        if kept_at > not_newer_than.timestamp():
            durable.move(gone, settled)
            came_again[digest] = datetime.fromtimestamp(kept_at, not_newer_than.tzinfo)
        else:
            gone.unlink()
            freed += size
    for folder in folders:
        durable.sync_folder(folder)
    return Deleted(size_bytes=freed, came_again=came_again)


def unlink(paths: Iterable[Path]) -> int:
    """Remove files, durably; those that are gone already are none. Answers how many bytes they had."""
    freed, folders = 0, set()
    for path in paths:
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            continue
        freed += size
        folders.add(path.parent)
    for folder in folders:
        durable.sync_folder(folder)
    return freed


def names(folder: Path, *, not_newer_than: datetime | None = None) -> Iterator[tuple[str, int]]:
    """Digest and size of each file below <ab>/, those alone that are so old."""
    for below in sorted(folder.glob("[0-9a-f][0-9a-f]")):
        with os.scandir(below) as entries:
            for entry in entries:
                if not entry.name.endswith(".dcm"):
                    continue
                try:
                    status = entry.stat()
                except FileNotFoundError:
                    continue
                if not_newer_than is None or status.st_mtime <= not_newer_than.timestamp():
                    yield entry.name.removesuffix(".dcm"), status.st_size


def _moved(settled: Path, gone: Path) -> bool:
    try:
        settled.rename(gone)
    except FileNotFoundError:
        return False
    return True


def _looked_at(path: Path) -> tuple[int, float | None]:
    """Size and time; opened, for on a network file system that asks the server."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return 0, None
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return status.st_size, status.st_mtime


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
