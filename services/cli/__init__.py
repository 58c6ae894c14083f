"""The command line: `vigie`. Each command lives in the module of its name; `--help` is its documentation."""

from typing import Annotated

import typer
from pydantic import ValidationError

from services import __version__
from services.cli import (
    audit,
    backup,
    commitments,
    db,
    deliver,
    deliveries,
    export,
    gateway,
    models,
    notifications,
    observatory,
    patient,
    peers,
    people,
    probe,
    process,
    queue,
    reconcile,
    restore,
    results,
    retention,
    scrub,
    send,
    settings,
    size,
    standalone,
    tenants,
    worker,
)
from services.cli.flags import told
from services.settings import Settings

app = typer.Typer(
    name="vigie",
    help="Watches DICOM studies for suspected tumours and tells the radiologist where to look first. "
    "Not a medical device: a person reads every study.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # a frame's locals may hold patient data
)
app.command("standalone")(standalone.standalone)
app.command("gateway")(gateway.gateway)
app.command("worker")(worker.worker)
app.command("deliver")(deliver.deliver)
app.command("process")(process.process)
app.command("send")(send.send)
app.command("probe")(probe.probe)
app.command("reconcile")(reconcile.reconcile)
app.add_typer(audit.app, name="audit")
app.command("restore")(restore.restore)
app.add_typer(backup.app, name="backup")
app.command("scrub")(scrub.scrub)
app.add_typer(commitments.app, name="commitments")
app.add_typer(db.app, name="db")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(export.app, name="export")
app.add_typer(models.app, name="models")
app.add_typer(notifications.app, name="notifications")
app.add_typer(observatory.app, name="observatory")
app.add_typer(patient.app, name="patient")
app.add_typer(peers.app, name="peers")
app.add_typer(people.app, name="people")
app.add_typer(queue.app, name="queue")
app.add_typer(results.app, name="results")
app.add_typer(retention.app, name="retention")
app.add_typer(tenants.app, name="tenants")
app.command("settings")(settings.settings)
app.command("size")(size.size)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vigie {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Carries the options that come before a command."""


def main() -> None:
    """Entry point of the console script. A variable that cannot be used ends it as a wrong flag does: exit code 2."""
    try:
        app()
    except ValidationError as error:
        if error.title != Settings.__name__:
            raise
        typer.echo(f"Error: {told(error)}", err=True)
        raise SystemExit(2) from None
