"""`vigie send`: C-STORE files to a peer."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from pydicom.errors import InvalidDicomError
from rich.console import Console
from rich.markup import escape
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from services.backends.senders.association import MAX_CONTEXTS, OutgoingFile, StorageAssociation, associate
from services.backends.senders.destinations import split_address
from services.triage.errors import DestinationRefused, DestinationUnavailable


def send(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders (with all in them).", exists=True)],
    peer: Annotated[str, typer.Argument(metavar="AET@HOST:PORT", help="Who receives them.")],
    ae_title: Annotated[str, typer.Option(help="Our own AE title.")] = "VIGIE",
) -> None:
    """C-STORE files to a peer, each as it is. Exit code: 0 all sent, 1 some failed, 2 wrong usage."""
    try:
        split_address(peer)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    console = Console(stderr=True)
    files = sorted(_files(paths))
    outgoing: list[OutgoingFile] = []
    failed: list[tuple[Path, str]] = []
    with _progress(console) as progress:
        for path in progress.track(files, description="Reading"):
            try:
                outgoing.append(OutgoingFile.read(path))
            except (InvalidDicomError, AttributeError, OSError) as error:
                failed.append((path, f"not a DICOM file that can be sent: {error}"))
        task = progress.add_task("Sending", total=len(outgoing))
        for group in _by_association(outgoing):
            for path, problem in _send_group(group, peer, ae_title):
                progress.advance(task)
                if problem:
                    failed.append((path, problem))
    for path, text in failed:
        console.print(f"[red]failed[/red] {escape(str(path))}: {escape(text)}", highlight=False, soft_wrap=True)
    console.print(f"{len(files) - len(failed)} of {len(files)} files sent to {peer}", highlight=False)
    if failed or not files:
        raise typer.Exit(1)


def _progress(console: Console) -> Progress:
    return Progress(*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn(), console=console)


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        yield from (found for found in path.rglob("*") if found.is_file()) if path.is_dir() else (path,)


def _by_association(files: Sequence[OutgoingFile]) -> Iterator[list[OutgoingFile]]:
    """Files in their order, cut where an association would need more contexts than it can have."""
    kinds = list({(file.sop_class_uid, file.transfer_syntax_uid): None for file in files})
    remaining = iter(kinds)
    while chunk := set(islice(remaining, MAX_CONTEXTS)):
        yield [file for file in files if (file.sop_class_uid, file.transfer_syntax_uid) in chunk]


def _send_group(files: Sequence[OutgoingFile], peer: str, ae_title: str) -> Iterator[tuple[Path, str | None]]:
    """Send over one association; each file with the error that kept it from being sent, if any.

    When a file makes the peer end the association, the rest goes over a new one.
    """
    pending = list(files)
    while pending:
        try:
            with associate(peer, ae_title, pending, implicit_fallback=False) as association:
                lost = False
                while pending and not lost:
                    problem, lost = _store(association, pending[0])
                    yield pending.pop(0).path, problem
        except (DestinationUnavailable, DestinationRefused) as error:
            yield from ((file.path, str(error)) for file in pending)
            return


def _store(association: StorageAssociation, file: OutgoingFile) -> tuple[str | None, bool]:
    """What kept the file from being sent, if anything, and whether the association is of no more use."""
    try:
        association.store(file)
    except DestinationRefused as refusal:
        return refusal.reason.text, False
    except DestinationUnavailable as error:
        return str(error), True
    return None, False
