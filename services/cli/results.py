"""`vigie results recall`: taking back a result that must not be believed."""

import getpass
from datetime import UTC, datetime
from typing import Annotated

import typer

from services.backends.files import FolderStudyFiles
from services.backends.store import SqlStudyStore, open_store
from services.gateway.recall import recall as recall_result
from services.settings import Settings
from services.triage.errors import TransientError

app = typer.Typer(help="Frozen results.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `recall` a word of its own while it is the only command."""


@app.command()
def recall(
    reason: Annotated[str, typer.Option(help="Why, for the history and the rejection note; no patient data.")],
    results: Annotated[list[str] | None, typer.Argument(help="Ids, as a study's page and the API show them.")] = None,
    study: Annotated[str | None, typer.Option(metavar="UID", help="All results of this study.")] = None,
) -> None:
    """Recall results: they move no study up any more, and are not delivered; the history notes who and why.

    With VIGIE_RECALL_NOTES, destinations that have them get a rejection note (IHE IOCM). Recalling again changes
    nothing.
    Exit code: 0 all are recalled, 1 some are unknown, 2 wrong usage.
    """
    if bool(results) == (study is not None):
        raise typer.BadParameter("name results, or a study by --study")
    if not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")
    settings = Settings()
    files = FolderStudyFiles(settings.data)
    try:
        store = open_store(settings.store_url())
        wanted = results or _results_of(store, study or "")
        unknown = [
            result_id
            for result_id in wanted
            if recall_result(
                store,
                files,
                result_id,
                reason=reason.strip(),
                actor=getpass.getuser(),
                notes=settings.recall_notes,
                now=datetime.now(UTC),
            )
            is None
        ]
    except TransientError as error:
        typer.echo(f"Nothing was recalled, or not all: {error}.", err=True)
        raise typer.Exit(1) from error
    for result_id in unknown:
        typer.echo(f"{result_id}: unknown", err=True)
    typer.echo(f"{len(wanted) - len(unknown)} of {len(wanted)} recalled")
    if unknown or not wanted:
        raise typer.Exit(1)


def _results_of(store: SqlStudyStore, study_instance_uid: str) -> list[str]:
    detail = store.board.study(study_instance_uid)
    jobs = [job for version in detail.versions for job in version.jobs] if detail else []
    return [found.result_id for job in jobs if (found := job.result or job.withheld) is not None]
