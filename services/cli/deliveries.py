"""`vigie deliveries list|resend`: what did not reach a destination or a receiver, for the person who mends it."""

import getpass
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from services.backends.store import SqlStudyStore
from services.cli.database import opened_store
from services.cli.tables import print_table
from services.triage.ports import DeliveryLine
from services.triage.result import WITHDRAWN, DeliveryState

app = typer.Typer(
    help="Results on their way to their destinations, and notifications to receivers.", no_args_is_help=True
)

Destination = Annotated[
    str | None, typer.Option("--destination", metavar="DESTINATION", help="Only those of this destination.")
]


@app.command("list")
def list_deliveries(
    state: Annotated[list[DeliveryState] | None, typer.Option(help="Which; may be given many times.")] = None,
    destination: Destination = None,
) -> None:
    """List deliveries, oldest first; without --state those that were given up and can be sent again."""
    table = Table("Delivery", "Study", "Destination", "Objects", "State", "Tries", "Since (UTC)", "Reason")
    store = opened_store()
    lines = store.deliveries(set(state), destination_name=destination) if state else _given_up(store, destination)
    for line in lines:
        since = f"{line.created_at:%Y-%m-%d %H:%M}"
        reason = f"{line.reason.text} [{line.reason.code}]" if line.reason else ""
        table.add_row(
            line.delivery_id,
            line.study_instance_uid,
            line.destination_name,
            _what(line),
            line.state,
            str(line.attempt),
            since,
            escape(reason),
        )
    print_table(table)


@app.command()
def resend(
    deliveries: Annotated[list[str] | None, typer.Argument(help="Ids, as `list` shows them.")] = None,
    all_given_up: Annotated[bool, typer.Option("--all", help="All that were given up.")] = False,
    destination: Destination = None,
) -> None:
    """Send again what was given up, once its destination is mended; the history notes who asked.

    Exit code: 0 all were put back, 1 some could not be (not given up, withdrawn, or unknown), 2 wrong usage.
    """
    if bool(deliveries) == all_given_up:
        raise typer.BadParameter("name deliveries, or say --all")
    store = opened_store()
    wanted = deliveries or [line.delivery_id for line in _given_up(store, destination)]
    done = store.resend(wanted, actor=getpass.getuser(), now=datetime.now(UTC))
    for delivery in sorted(set(wanted) - set(done)):
        typer.echo(f"{delivery}: not given up, withdrawn, or unknown", err=True)
    typer.echo(f"{len(done)} of {len(wanted)} will be sent again")
    if len(done) < len(wanted):
        raise typer.Exit(1)


def _what(line: DeliveryLine) -> str:
    if line.verdicts:
        return "SR of verdicts"
    return ", ".join(kind.upper() for kind in line.objects) or ("withdrawal" if line.note else "notification")


def _given_up(store: SqlStudyStore, destination: str | None) -> list[DeliveryLine]:
    """Those that can be sent again; a result that was recalled, or corrected, stays where it is."""
    lines = store.deliveries({DeliveryState.GIVEN_UP}, destination_name=destination)
    return [line for line in lines if line.reason is None or line.reason.code not in WITHDRAWN]
