"""`vigie send`: C-STORE files to a peer."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from services.backends.senders.association import MAX_CONTEXTS, NotToBeSent, OutgoingFile, StorageAssociation, associate
from services.backends.senders.destinations import split_address
from services.triage.errors import DestinationRefused, DestinationUnavailable


def send(
    paths: Annotated[
        list[Path], typer.Argument(help="DICOM files, and folders with all that is in them.", exists=True)
    ],
    peer: Annotated[str, typer.Argument(metavar="AET@HOST:PORT", help="Who receives them.")],
    ae_title: Annotated[str, typer.Option(help="Our own AE title.")] = "VIGIE",
) -> None:
    """C-STORE files to a peer, each as it is.

    What is no DICOM file in a folder, or a DICOMDIR, is skipped with a warning; named by itself it is a failure.
    Exit code: 0 all sent, 1 some failed or there was none, 2 wrong usage.
    """
    try:
        split_address(peer)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    console = Console(stderr=True)
    with _progress(console) as progress:
        read = [
            _read(path, named=path in paths) for path in progress.track(sorted(_files(paths)), description="Reading")
        ]
        outgoing = [each for each in read if isinstance(each, OutgoingFile)]
        unsent = [each for each in read if isinstance(each, _Unsent)]
        task = progress.add_task("Sending", total=len(outgoing))
        for group in _by_association(outgoing):
            for path, problem in _send_group(group, peer, ae_title):
                progress.advance(task)
                if problem:
                    unsent.append(_Unsent(path, problem))
    for each in sorted(unsent, key=lambda one: not one.skipped):
        word = "[yellow]skipped[/yellow]" if each.skipped else "[red]failed[/red]"
        console.print(f"{word} {escape(str(each.path))}: {escape(each.text)}", highlight=False, soft_wrap=True)
    failed = sum(not each.skipped for each in unsent)
    total = len(read) - sum(each.skipped for each in unsent)
    console.print(f"{total - failed} of {total} files sent to {peer}", highlight=False)
    if failed or not total:
        raise typer.Exit(1)


class _Unsent(NamedTuple):
    """A file that was not sent, and why; `skipped` when nobody asked for it."""

    path: Path
    text: str
    skipped: bool = False


def _read(path: Path, *, named: bool) -> OutgoingFile | _Unsent:
    try:
        return OutgoingFile.read(path)
    except NotToBeSent as error:
        return _Unsent(path, str(error), skipped=not named)
    except (ValueError, OSError) as error:
        return _Unsent(path, f"cannot be read: {error}")


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
