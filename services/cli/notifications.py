"""`vigie notifications sample`: what a receiver would be sent, for the person who sets it up."""

import json
from typing import Annotated

import typer

from services.backends.receivers import receivers
from services.backends.receivers.sample import ORDER, sample
from services.backends.receivers.source import kept
from services.backends.receivers.tables import FhirTable, Hl7Table
from services.settings import Settings
from services.triage.errors import DestinationsRefused

app = typer.Typer(help="What receivers are told of results.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `sample` a word of its own while it is the only command."""


@app.command("sample")
def print_sample(
    receiver: Annotated[str, typer.Argument(metavar="NAME", help="A receiver in the file of VIGIE_NOTIFICATIONS.")],
    withdrawn: Annotated[bool, typer.Option("--withdrawn", help="The recall of the result, not the result.")] = False,
) -> None:
    """Print the message of a made-up result, as this receiver would get it; nothing is sent.

    Exit code: 0 printed, 2 there is no such receiver, or the file cannot be used.
    """
    try:
        table = {one.destination.name: one.table for one in receivers(Settings())}.get(receiver)
    except (ValueError, DestinationsRefused) as error:
        raise typer.BadParameter(str(error)) from error
    if table is None:
        raise typer.BadParameter(f"VIGIE_NOTIFICATIONS names no receiver '{receiver}'")
    notification = sample(withdrawn=withdrawn)

    def value_of(keyword: str) -> str:
        return kept(notification.study, keyword) or ORDER.get(keyword, "")

    if isinstance(table, Hl7Table):
        from services.backends.receivers.hl7_oru import oru_message

        typer.echo(oru_message(notification, value_of, table).replace("\r", "\n"), nl=False)
    elif isinstance(table, FhirTable):
        from services.backends.receivers.fhir_r4b import transaction

        typer.echo(transaction(notification, value_of, table))
    else:
        from services.backends.receivers.webhook import payload

        typer.echo(json.dumps(payload(notification, table), indent=2, ensure_ascii=False))
