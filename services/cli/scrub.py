"""`vigie scrub`: whether every acknowledged instance is still there, and known."""

import getpass
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from services.backends.files import FolderStudyFiles
from services.cli.backup import only_one
from services.cli.database import opened_store
from services.cli.flags import settings_from
from services.cli.tables import print_table
from services.gateway.unknown import have_recorded, unknown_files
from services.triage.audit import AuditActor
from services.triage.audit_types import AuditType, audited
from services.triage.errors import BackupRefused, TransientError


def scrub(
    unknown: Annotated[
        bool,
        typer.Option(
            "--unknown",
            help="After the database was put back: have files that it does not know recorded, now. "
            "Everything may go on running.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --unknown: count them only.")] = False,
) -> None:
    """Tell how far the search for lost instances is, and what is lost.

    Exit code: 0 nothing is, 1 something is; with --unknown: 0 all is known or will be, 1 not (each file that is left in
    a line); 2 wrong usage.
    """
    if unknown:
        _unknown(dry_run=dry_run)
    elif dry_run:
        raise typer.BadParameter("--dry-run goes with --unknown")
    else:
        _lost()


def _lost() -> None:
    store = opened_store()
    found, lost = store.scrub.state(), store.scrub.lost()
    finished = found.round_finished_at.isoformat(timespec="seconds") if found.round_finished_at else "not yet"
    typer.echo(f"{found.checked} files looked for, {found.read} of them read to the last byte")
    typer.echo(f"every instance looked for: {finished}")
    typer.echo(f"lost: {sum(found.lost.values())}")
    if lost:
        table = Table("study", "instance", "fault", "found")
        for one in lost:
            table.add_row(one.study_instance_uid, one.sop_instance_uid, one.fault, f"{one.found_at:%Y-%m-%d %H:%M}")
        print_table(table)
        raise typer.Exit(1)


def _unknown(*, dry_run: bool) -> None:
    settings = settings_from()
    store, files = opened_store(settings), FolderStudyFiles(settings.data)
    looked_at = images = left = 0
    studies: set[str] = set()
    with _refusals(), only_one(store) as claim, _progress() as progress:
        for count, page in unknown_files(store, files):
            claim.confirm()
            for one in page:
                if one.left is not None:
                    typer.echo(f"{one.left}, left: {one.path}")
            back = [one.study_instance_uid for one in page if one.left is None]
            if back and not dry_run:
                if not images:
                    store.audit.record(audited(AuditType.RESTORE, AuditActor(name=getpass.getuser())), now=_now())
                have_recorded(files, page)
            looked_at, images, left = looked_at + count, images + len(back), left + len(page) - len(back)
            studies.update(back)
            progress(f"{looked_at} settled files looked at, {images + left} unknown")
    told = "knows them all" if not left else f"does not know {left}, and they are left"
    if images:
        told = f"does not know {images}, of {len(studies)} studies{'' if dry_run else ': they will be recorded'}"
    typer.echo(f"{looked_at} settled files looked at: the database {told}")
    if left or (dry_run and images):
        raise typer.Exit(1)


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (BackupRefused, TransientError) as error:
        typer.echo(f"vigie scrub: {error.reason.text}", err=True)
        raise typer.Exit(1) from error
    except OSError as error:
        typer.echo(f"vigie scrub: {error.strerror}: {error.filename}", err=True)
        raise typer.Exit(1) from error


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("looking")
        yield lambda text: progress.update(task, description=text)


def _now() -> datetime:
    return datetime.now(UTC)
