"""The files: copied once each, named by what is in them, and looked at again."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from services.backends import part10
from services.backends.files import durable
from services.triage.errors import InstanceRefused

# in this order: what is settled meanwhile moves from the first to the second
FOLDERS = ("inbox", "instances", "results", "quarantine", "tenants")


def listed(root: Path) -> Iterator[str]:
    """The paths below a data folder of all that is to be copied. Files may come and go meanwhile."""
    for folder in FOLDERS:
        for path, _, names in os.walk(root / folder):
            for name in sorted(names):
                if not name.endswith(durable.UNFINISHED):
                    yield (Path(path) / name).relative_to(root).as_posix()


def copy(root: Path, target: Path, name: str) -> int | None:
    """Copy one file unless it is there already; its size, None where it is gone. Durable but for its folder's entry."""
    to = target / name
    try:
        status = (root / name).stat()
        if _is_same(to, status):
            return status.st_size
        to.parent.mkdir(parents=True, exist_ok=True)
        unfinished = to.with_name(to.name + durable.UNFINISHED)
        shutil.copyfile(root / name, unfinished)
    except FileNotFoundError:
        return None
    # retention goes by it, and so does the next copy
    os.utime(unfinished, ns=(status.st_mtime_ns, status.st_mtime_ns))
    _sync(unfinished)
    unfinished.rename(to)
    return status.st_size


def is_whole(root: Path, name: str, size: int) -> bool:
    """Whether a file has the content that its name tells, and this size."""
    path = root / name
    try:
        content = path.read_bytes()
    except OSError:
        return False
    if len(content) != size:
        return False
    folder, _, rest = name.partition("/")
    told = rest.rpartition("/")[2].partition(".")[0]
    if folder in ("inbox", "instances"):
        try:
            return part10.digest(content) == told
        except InstanceRefused:
            return False
    if folder == "results" or name.endswith(".bin"):
        return hashlib.sha256(content).hexdigest() == told
    return True


def sync_folders(root: Path) -> None:
    """Make the entries of all folders durable."""
    for path, _, _ in os.walk(root):
        durable.sync_folder(Path(path))


def _is_same(copied: Path, status: os.stat_result) -> bool:
    if not copied.exists():
        return False
    found = copied.stat()
    return (found.st_size, found.st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
