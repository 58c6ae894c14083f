"""Putting a snapshot back where nothing is."""

from collections.abc import Callable
from pathlib import Path

from services.backends.backup import copying
from services.backends.backup.database import put_back
from services.backends.backup.manifest import FILES, Snapshot
from services.backends.store.migrate import known_revisions
from services.triage.errors import BackupRefused

Progress = Callable[[str], None]


def restore(
    backup: Path, snapshot: Snapshot, *, data: Path, database_url: str, progress: Progress = lambda _: None
) -> list[str]:
    """Copy a snapshot's files and database back; answers the files that were not whole, and were left out.

    The database comes last: before it, nothing here says that a restore has been made, and it can be made again.
    Raises BackupRefused (damaged, not_empty, too_new, other_engine, no_client, database_failed), OSError.
    """
    snapshot.check()
    if snapshot.manifest.revision not in known_revisions():
        raise BackupRefused("too_new", f"the copy is of a newer Vigie ({snapshot.manifest.version}): install that")
    wrong = []
    for number, (name, size) in enumerate(snapshot.files(), start=1):
        if number % 1000 == 0:
            progress(f"{number} of {snapshot.manifest.file_count} files")
        if copying.is_whole(backup / FILES, name, size):
            copying.put_back(backup / FILES, data, name)
        else:
            wrong.append(name)
    copying.sync_folders(data)
    progress("putting the database back")
    put_back(snapshot.database, database_url)
    return wrong


def require_empty(data: Path) -> None:
    """Raises BackupRefused (not_empty): images or results are here, or anchors of a trail.

    Events that wait may be: those of who set this machine up. They have keys of their own, and enter the trail with the
    others.
    """
    for name in copying.listed(data, (*copying.AFTER_DATABASE, "audit")):
        if name.startswith("audit/spool/"):
            continue
        text = f"{data} holds files, such as {name.partition('/')[0]}/: name an empty folder, or empty it"
        raise BackupRefused("not_empty", text)
