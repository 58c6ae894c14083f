"""Making a snapshot, looking at it again, and taking old ones away."""

import fcntl
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from services import __version__
from services.backends.audit_spool import AuditSpool
from services.backends.backup import copying
from services.backends.backup.database import check_database, copy_database
from services.backends.backup.manifest import (
    FILES,
    SNAPSHOTS,
    Manifest,
    Snapshot,
    folders,
    sha256_of,
    write_list,
    write_manifest,
)
from services.backends.files import durable
from services.triage.errors import BackupRefused

LOCK = ".lock"
Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What is copied: the data folder, and the database with its revision."""

    data: Path
    database_url: str
    revision: str
    erased: tuple[str, ...] = ()


def make(
    source: Source,
    backup: Path,
    *,
    now: datetime,
    progress: Progress = lambda _: None,
    confirm: Callable[[], None] = lambda: None,
) -> Snapshot:
    """Copy everything into a folder, whose earlier copies stay. Nobody may delete files of the source meanwhile.

    confirm: raises where somebody may have; it is asked last, before there is a snapshot.
    Raises BackupRefused (bad_place, busy, no_client, database_failed), OSError, or as `confirm`: no snapshot was made.
    """
    if backup.resolve().is_relative_to(source.data.resolve()):
        raise BackupRefused("bad_place", "a backup inside the data folder would be lost with it: name another place")
    backup.mkdir(parents=True, exist_ok=True)
    with _alone(backup):
        return _made(source, backup, now, progress, confirm)


def _made(source: Source, backup: Path, now: datetime, progress: Progress, confirm: Callable[[], None]) -> Snapshot:
    name = f"{now:%Y%m%dT%H%M%S}Z"
    folder = backup / SNAPSHOTS / f"{name}{durable.UNFINISHED}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for each in copying.unknown(source.data):
        progress(f"not copied as a file, for Vigie gives nothing this name: {each}")
    AuditSpool(source.data).set_dropped_apart()
    found = set(_copied(source.data, copying.BEFORE_DATABASE, backup / FILES, progress))
    progress("copying the database")
    database = copy_database(source.database_url, folder)
    progress("copying the files")
    found.update(_copied(source.data, copying.AFTER_DATABASE, backup / FILES, progress))
    files = sorted(found)
    manifest = Manifest(
        made_at=now,
        version=__version__,
        revision=source.revision,
        database=database,
        database_sha256=sha256_of(folder / database),
        list_sha256=write_list(folder, files),
        file_count=len(files),
        size_bytes=sum(size for _, size in files),
        erased=source.erased,
    )
    write_manifest(folder, manifest)
    copying.sync_folders(backup)
    confirm()
    folder.rename(folder.with_name(name))
    durable.sync_folder(backup / SNAPSHOTS)
    return Snapshot(backup / SNAPSHOTS / name)


def verify(backup: Path, snapshot: Snapshot, *, progress: Progress = lambda _: None) -> list[str]:
    """Read every byte of a snapshot; what is wrong with it, nothing where it is whole. Raises BackupRefused."""
    snapshot.check()
    wrong = []
    if (told := check_database(snapshot.database)) is not None:
        wrong.append(f"{snapshot.database}: {told}")
    for number, (name, size) in enumerate(snapshot.files(), start=1):
        if number % 1000 == 0:
            progress(f"{number} of {snapshot.manifest.file_count} files read")
        if not copying.is_whole(backup / FILES, name, size):
            wrong.append(f"{backup / FILES / name}: missing or damaged")
    return wrong


def prune(backup: Path, *, keep: int) -> tuple[int, int]:
    """Take all but the newest snapshots away, and the files that none of these has; how many of each.

    Raises BackupRefused, and nothing was taken away (busy: one is being made, whose files no snapshot has yet;
    not_a_backup: one of the newest cannot be read).
    """
    if not backup.is_dir():
        return 0, 0
    with _alone(backup):
        return _pruned(backup, keep)


def _pruned(backup: Path, keep: int) -> tuple[int, int]:
    found = folders(backup)
    # what one that stays needs is not known before it is read: until then nothing goes
    named = {name for folder in found[-keep:] for name, _ in Snapshot(folder).files()}
    old = found[:-keep]
    for folder in old:
        # none from now on, however far the deletion comes
        folder.rename(folder.with_name(f"{folder.name}{durable.UNFINISHED}"))
    if old:
        durable.sync_folder(backup / SNAPSHOTS)
    unnamed = [path for path in (backup / FILES).rglob("*") if path.is_file() and _name(backup, path) not in named]
    for path in unnamed:
        path.unlink()
    for path in (backup / SNAPSHOTS).glob(f"*{durable.UNFINISHED}"):
        shutil.rmtree(path)
    return len(old), len(unnamed)


@contextmanager
def _alone(backup: Path) -> Iterator[None]:
    """While nobody else makes or takes away, from this machine or, over NFS, another. Raises BackupRefused (busy)."""
    with (backup / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            text = f"another backup is being made in {backup}, or taken away: try again when that has ended"
            raise BackupRefused("busy", text) from error
        yield


def _copied(data: Path, folders: Iterable[str], target: Path, progress: Progress) -> Iterator[tuple[str, int]]:
    for number, name in enumerate(copying.listed(data, folders), start=1):
        if number % 1000 == 0:
            progress(f"{number} files copied")
        copied = copying.copy(data, target, name)
        if copied is not None:
            yield copied


def _name(backup: Path, path: Path) -> str:
    return path.relative_to(backup / FILES).as_posix()
