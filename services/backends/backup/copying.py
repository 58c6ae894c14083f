"""The files: copied once each, named by what is in them, and looked at again.

Images, results and what lies in quarantine are named so by whoever keeps them, and have the same path in the copy. Any
other file has its SHA-256 there, too (`audit/anchors.jsonl@<sha256>`): it may change, and each snapshot has its own.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from services.backends import part10
from services.backends.files import durable
from services.triage.errors import InstanceRefused

BEFORE_DATABASE = ("audit/spool", "audit")
"""What goes from here into the database: what has gone before it is copied is in the database, which is copied later.

Anchors come before it, too: they tell of no record that the copied database lacks.
"""
AFTER_DATABASE = ("deleting", "inbox", "instances", "results", "quarantine", "tenants")
"""What the database names. In this order: what is settled meanwhile moves from the inbox to the instances."""

LEFT_OUT = {
    "vigie.sqlite*": "the database, which is copied by its engine's own means",
    "standalone.lock": "held by who runs now",
    f"*{durable.UNFINISHED}": "being written: nobody was told yet that it is kept",
    "audit/dropped": "counted on; what it told when the copy began is audit/dropped-<key> now, which is copied",
    "lost+found": "the file system's own",
}
"""Paths in a data folder that are in no copy, and why."""

_NAMED_BY_CONTENT = (".dcm", ".bin")
_SHA256 = re.compile(r"@([0-9a-f]{64})$")


def listed(root: Path, folders: Iterable[str]) -> Iterator[str]:
    """The paths below a data folder of all that is to be copied of these. Files may come and go meanwhile."""
    for folder in folders:
        for path, _, names in os.walk(root / folder):
            for name in sorted(names):
                found = (Path(path) / name).relative_to(root).as_posix()
                if not _is_left_out(found):
                    yield found


def unknown(root: Path) -> list[str]:
    """What lies in a data folder and is neither copied nor in LEFT_OUT."""
    copied = {folder.partition("/")[0] for folder in (*BEFORE_DATABASE, *AFTER_DATABASE)}
    names = sorted(path.name for path in root.iterdir())
    return [name for name in names if name not in copied and not _is_left_out(name)]


def copy(root: Path, target: Path, name: str) -> tuple[str, int] | None:
    """Copy one file unless it is there already; its name there, and its size. None: it is gone from here.

    Durable but for its folder's entry.
    """
    source = root / name
    try:
        if name.endswith(_NAMED_BY_CONTENT) and not name.startswith(BEFORE_DATABASE):
            return name, _copy(source, target / name)
        status, content = source.stat(), source.read_bytes()
    except FileNotFoundError:
        return None
    name = f"{name}@{hashlib.sha256(content).hexdigest()}"
    if not (target / name).exists():
        with _unfinished(target / name, status) as unfinished:
            unfinished.write_bytes(content)
    return name, len(content)


def put_back(root: Path, target: Path, name: str) -> None:
    """Copy one file of a copy to where it was."""
    _copy(root / name, target / _SHA256.sub("", name))


def is_whole(root: Path, name: str, size: int) -> bool:
    """Whether a file of a copy has the content that its name tells, and this size."""
    try:
        content = (root / name).read_bytes()
    except OSError:
        return False
    if len(content) != size:
        return False
    told = name.rpartition("/")[2].partition(".")[0]
    if (sha256 := _SHA256.search(name)) is not None:
        return hashlib.sha256(content).hexdigest() == sha256[1]
    if name.startswith("results/") or name.endswith(".bin"):
        return hashlib.sha256(content).hexdigest() == told
    if name.endswith(".dcm"):
        try:
            return part10.digest(content) == told
        except InstanceRefused:
            return False
    return True  # of a copy that was made when these had no digest in their name


def sync_folders(root: Path) -> None:
    """Make the entries of all folders durable."""
    for path, _, _ in os.walk(root):
        durable.sync_folder(Path(path))


def _is_left_out(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in LEFT_OUT)


def _copy(source: Path, to: Path) -> int:
    """Copy a file unless it is there already; its size. Raises FileNotFoundError: there is none."""
    status = source.stat()
    if not _is_same(to, status):
        with _unfinished(to, status) as unfinished:
            shutil.copyfile(source, unfinished)
    return status.st_size


@contextmanager
def _unfinished(to: Path, status: os.stat_result) -> Iterator[Path]:
    """A file that has this name and its source's time at the end."""
    to.parent.mkdir(parents=True, exist_ok=True)
    unfinished = to.with_name(to.name + durable.UNFINISHED)
    yield unfinished
    # retention goes by it, and so does the next copy
    os.utime(unfinished, ns=(status.st_mtime_ns, status.st_mtime_ns))
    _sync(unfinished)
    unfinished.rename(to)


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
