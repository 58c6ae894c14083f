"""`vigie backup make|list|verify|prune`: copies of all that is kept, made while everything runs."""

import getpass
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from services.backends.backup.making import Source, make, prune, verify
from services.backends.backup.manifest import snapshot, snapshots
from services.backends.store import SqlStudyStore, connect
from services.backends.store.migrate import current_revision
from services.cli.database import opened_store
from services.cli.flags import settings_from
from services.cli.tables import print_table
from services.gateway.file_claim import FileClaim
from services.keeping import keeping
from services.settings import Settings
from services.triage.audit import AuditActor
from services.triage.audit_types import AuditType, audited
from services.triage.errors import BackupRefused, TransientError

app = typer.Typer(help="Copies of all that is kept (docs/operations/backup.md).", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the backups, on another machine's disk.")]
CLAIM_S = 60.0
PATIENCE_S = 120.0


@app.command("make")
def make_(backup: Folder) -> None:
    """Copy database, audit trail, images, results and what is just arriving.

    Everything may go on running; deletion pauses. A file that an earlier backup of the folder has is not copied again.
    What lies in the data folder and is not Vigie's is told, and not copied. The copies hold patient data.
    Exit code: 0 made, 1 not made.
    """
    settings = settings_from()
    store = opened_store(settings)
    with _refusals(), only_one(store) as claim:

        def progress(text: str) -> None:
            claim.require()
            _progress(text)

        now = datetime.now(UTC)
        made = make(_source(settings, store), backup, now=now, progress=progress, confirm=claim.confirm)
        actor = AuditActor(name=getpass.getuser())
        event = audited(AuditType.BACKUP, actor)
        store.audit.record(event, now=datetime.now(UTC))
    told = made.manifest
    typer.echo(f"{made.name}: {told.file_count} files, {told.size_bytes / 1e9:.2f} GB, database {told.revision}")


@app.command("list")
def list_(backup: Folder) -> None:
    """List the backups of a folder, oldest first.

    Exit code: 0, or 1 where one cannot be read (each in a line).
    """
    table = Table("Backup", "Vigie", "Database", "Files", "GB")
    found, unreadable = snapshots(backup)
    for one in found:
        told = one.manifest
        row = (one.name, told.version, told.revision, str(told.file_count), f"{told.size_bytes / 1e9:.2f}")
        table.add_row(*row)
    print_table(table)
    for fault in unreadable:
        typer.echo(fault, err=True)
    if unreadable:
        raise typer.Exit(1)


@app.command("verify")
def verify_(
    backup: Folder,
    name: Annotated[str | None, typer.Option("--snapshot", metavar="NAME", help="Which; default: the newest.")] = None,
) -> None:
    """Read every byte of a backup: each file's digest, the database's, and whether its engine can read it.

    The newest is the newest that can be read; that another cannot is a fault.
    Exit code: 0 it is whole, 1 it is not (each fault in a line).
    """
    with _refusals():
        one = snapshot(backup, name)
        _, unreadable = snapshots(backup) if name is None else ([], [])
        wrong = [*unreadable, *verify(backup, one, progress=_progress)]
    for fault in wrong:
        typer.echo(fault)
    typer.echo(f"{one.name}: {one.manifest.file_count} files, {len(wrong)} faults", err=True)
    if wrong:
        raise typer.Exit(1)


@app.command("prune")
def prune_(
    backup: Folder, keep: Annotated[int, typer.Option("--keep", min=1, help="So many of the newest stay.")]
) -> None:
    """Take older backups away, and the files that only they had: what was deleted here then leaves the copies, too.

    Where one of those that stay cannot be read, nothing goes: take that one away first.
    """
    with _refusals():
        gone, files = prune(backup, keep=keep)
    typer.echo(f"{gone} backups taken away, with {files} files")


@contextmanager
def only_one(store: SqlStudyStore) -> Iterator[FileClaim]:
    """While nobody else deletes or copies files. Raises BackupRefused (busy)."""
    deadline, lasts = time.monotonic() + PATIENCE_S, timedelta(seconds=CLAIM_S)
    while (claim := store.retaining.claim(now=datetime.now(UTC), duration=lasts)) is None:
        if time.monotonic() > deadline:
            raise BackupRefused("busy", "another process deletes or copies files now: try again when it has done")
        time.sleep(1)
    mine = FileClaim(store=store, claim=claim, lasts=lasts)
    try:
        with keeping(mine.renew, claim_s=CLAIM_S, what="backup"):
            yield mine
    finally:
        store.retaining.release(claim)


def _source(settings: Settings, store: SqlStudyStore) -> Source:
    engine = connect(settings.store_url())
    try:
        revision = current_revision(engine)
    finally:
        engine.dispose()
    return Source(
        data=settings.data,
        database_url=settings.store_url(),
        revision=str(revision),
        erased=store.restored.erased(),
    )


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (BackupRefused, TransientError) as error:
        typer.echo(f"vigie backup: {error.reason.text}", err=True)
        raise typer.Exit(1) from error
    except OSError as error:
        typer.echo(f"vigie backup: {error.strerror}: {error.filename}", err=True)
        raise typer.Exit(1) from error


def _progress(text: str) -> None:
    typer.echo(text, err=True)
