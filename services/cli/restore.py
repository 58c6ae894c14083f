"""`vigie restore`: a backup put back on an empty machine."""

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from services.backends.backup.manifest import Snapshot, snapshot, snapshots
from services.backends.backup.restoring import require_empty
from services.backends.backup.restoring import restore as put_back
from services.backends.files import FolderStudyFiles
from services.backends.store import SqlStudyStore, connect
from services.backends.store.migrate import current_revision, upgrade
from services.cli.database import opened_store
from services.cli.flags import settings_from
from services.gateway.erasure import Erasure
from services.gateway.unknown import have_recorded, unknown_files
from services.settings import Settings
from services.triage.audit import AuditActor
from services.triage.audit_types import AuditType, audited
from services.triage.errors import BackupRefused, ErasureRefused, TransientError


def restore(
    backup: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the backups.")],
    name: Annotated[str | None, typer.Option("--snapshot", metavar="NAME", help="Which; default: the newest.")] = None,
    hold_deliveries: Annotated[
        bool,
        typer.Option(
            "--hold-deliveries",
            help="Send nothing that was pending when the backup was made, until 'vigie deliveries resend --all'.",
        ),
    ] = False,
) -> None:
    """Put a backup back: into VIGIE_DATA, which holds nothing yet, and a database without tables.

    Each file is checked by its digest. Then start Vigie: what was analysed when the backup was made is analysed again,
    and what arrived while it was made is recorded. What was erased on request by the newest backup is erased again.
    Exit code: 0 all of it is back, 1 it is not, or files are missing, or erasures may be, since another backup cannot
    be read (each in a line), 2 wrong usage.
    """
    settings = settings_from()
    try:
        one = snapshot(backup, name)
        _require_nothing(settings)
        wrong = put_back(
            backup, one, data=settings.data, database_url=settings.store_url(), progress=lambda text: _say(text)
        )
        _upgrade(settings)
        erased, unreadable = _erased(backup, one)
        missing = _settle(settings, erased, hold=hold_deliveries)
    except (BackupRefused, ErasureRefused, TransientError) as error:
        typer.echo(f"vigie restore: {error.reason.text}", err=True)
        raise typer.Exit(1) from error
    except OSError as error:
        typer.echo(f"vigie restore: {error.strerror}: {error.filename}", err=True)
        raise typer.Exit(1) from error
    for each in wrong:
        typer.echo(f"not whole in the backup, left out: {each}")
    for each in missing:
        typer.echo(f"the database names it, and it is not here: {each}")
    for each in unreadable:
        typer.echo(f"{each}: what was erased by then may be back; repeat the requests of your own list")
    typer.echo(f"restored {one.name}: {one.manifest.file_count - len(wrong)} files; start Vigie now")
    if wrong or missing or unreadable:
        raise typer.Exit(1)


def _require_nothing(settings: Settings) -> None:
    settings.data.mkdir(parents=True, exist_ok=True)
    require_empty(settings.data)
    if settings.database_url is None and (settings.data / "vigie.sqlite").exists():
        raise BackupRefused("not_empty", f"{settings.data / 'vigie.sqlite'} exists: take it away first")
    engine = connect(settings.store_url())
    try:
        if settings.database_url is not None and current_revision(engine) is not None:
            raise BackupRefused("not_empty", "the database has tables: name an empty one")
    finally:
        engine.dispose()


def _upgrade(settings: Settings) -> None:
    engine = connect(settings.store_url())
    try:
        upgrade(engine)
    finally:
        engine.dispose()


def _erased(backup: Path, one: Snapshot) -> tuple[set[str], list[str]]:
    """What was erased since, as far as the backups know; and which of them cannot be read."""
    found, unreadable = snapshots(backup)
    known = {uid for each in found for uid in each.manifest.erased}
    return known - set(one.manifest.erased), unreadable


def _settle(settings: Settings, erased: set[str], *, hold: bool) -> list[str]:
    """Make files and database agree; what of the files is missing."""
    store, files, now = opened_store(settings), FolderStudyFiles(settings.data), datetime.now(UTC)
    resumed = store.restored.resume(now=now, hold=hold)
    if uids := store.erasing.known(erased):
        Erasure(store=store, files=files).erase(uids, actor=getpass.getuser(), reason="erased before, and restored")
        store.erasing.scrub()
    unknown = [one for _, page in unknown_files(store, files) for one in page]
    have_recorded(files, unknown)
    missing = _missing(store, files)
    actor = AuditActor(name=getpass.getuser())
    event = audited(AuditType.RESTORE, actor)
    store.audit.record(event, now=now)
    images = sum(one.left is None for one in unknown)
    _say(f"{resumed.jobs} jobs will run again, {images} images that came during the backup will be recorded")
    for one in unknown:
        if one.left is not None:
            _say(f"{one.left}, left: {one.path}")
    if resumed.deliveries:
        again = "are sent, perhaps for the second time, the same bytes"
        told = "are held: vigie deliveries resend --all" if hold else again
        _say(f"{resumed.deliveries} deliveries were pending and {told}")
    if uids:
        _say(f"{len(uids)} studies were erased again")
    return missing


def _missing(store: SqlStudyStore, files: FolderStudyFiles) -> list[str]:
    settled = set(files.settled()) | {one.digest for one in files.pending()}
    images = [f"image {digest}" for digest in store.restored.images() if digest not in settled]
    kept = set(files.results(not_newer_than=datetime.max.replace(tzinfo=UTC)))
    return images + [f"result object {sha256}" for sha256 in store.restored.objects() if sha256 not in kept]


def _say(text: str) -> None:
    typer.echo(text, err=True)
