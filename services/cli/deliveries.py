"""`vigie deliveries list|resend|give-up`: what did not reach a destination or receiver, for who mends it."""

import getpass
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from services.backends.receivers import addressees
from services.backends.store import SqlStudyStore
from services.cli.database import opened_store
from services.cli.tables import print_table
from services.settings import Settings
from services.triage.errors import DestinationsRefused, TenantsRefused
from services.triage.ports import DeliveryLine
from services.triage.result import ABANDONED, WITHDRAWN, DeliveryState

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
    """List deliveries, oldest first; without --state those that were given up and can be sent again.

    What no setting names any more is told as such: nobody sends it.
    """
    table = Table("Delivery", "Study", "Destination", "Objects", "State", "Tries", "Since (UTC)", "Reason")
    store, named = opened_store(), _configured()
    lines = store.deliveries(set(state), destination_name=destination) if state else _given_up(store, destination)
    for line in lines:
        since = f"{line.created_at:%Y-%m-%d %H:%M}"
        reason = f"{line.reason.text} [{line.reason.code}]" if line.reason else ""
        table.add_row(
            line.delivery_id,
            line.study_instance_uid,
            line.destination_name + ("" if line.destination_name in named else " (not configured)"),
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

    What a person gave up (`give-up`) is sent again only by its id, or with --destination: nobody may be there.

    Exit code: 0 all were put back, 1 some could not be (not given up, withdrawn, or unknown), 2 wrong usage.
    """
    if bool(deliveries) == all_given_up:
        raise typer.BadParameter("name deliveries, or say --all")
    store = opened_store()
    all_of_these = [line for line in _given_up(store, destination) if destination or not _is_abandoned(line)]
    wanted = deliveries or [line.delivery_id for line in all_of_these]
    done = store.resend(wanted, actor=getpass.getuser(), now=datetime.now(UTC))
    for delivery in sorted(set(wanted) - set(done)):
        typer.echo(f"{delivery}: not given up, withdrawn, or unknown", err=True)
    typer.echo(f"{len(done)} of {len(wanted)} will be sent again")
    if len(done) < len(wanted):
        raise typer.Exit(1)


@app.command("give-up")
def give_up(
    destination: Annotated[str, typer.Option(metavar="DESTINATION", help="Whose deliveries, by its old name.")],
    reason: Annotated[str, typer.Option(help="Why, for history and audit trail; no patient data.")],
    force: Annotated[bool, typer.Option("--force", help="Also of a destination that is configured.")] = False,
) -> None:
    """Give up what is pending for a destination that was renamed or removed: nobody sends it, and it holds its images.

    `resend` puts it back, should the destination come back. Exit code: 0 nothing is left pending, 1 something is being
    sent at this moment, 2 wrong usage, or the destination is configured here.
    """
    if not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")
    if not force and destination in _configured():
        raise typer.BadParameter("it is configured here, and what is pending is sent; --force gives it up all the same")
    store = opened_store()
    done = store.give_up(destination, reason.strip(), actor=getpass.getuser(), now=datetime.now(UTC))
    typer.echo(f"{done} given up")
    if left := len(store.deliveries({DeliveryState.PENDING}, destination_name=destination)):
        typer.echo(f"{left} still pending: being sent at this moment", err=True)
        raise typer.Exit(1)


def _configured() -> set[str]:
    """The names of destinations and receivers in force. Raises BadParameter: their files cannot be used."""
    try:
        return {one.name for one in addressees(Settings())}
    except (ValueError, DestinationsRefused, TenantsRefused) as error:
        raise typer.BadParameter(str(error)) from error


def _is_abandoned(line: DeliveryLine) -> bool:
    return line.reason is not None and line.reason.code == ABANDONED


def _what(line: DeliveryLine) -> str:
    if line.verdicts:
        return "SR of verdicts"
    return ", ".join(kind.upper() for kind in line.objects) or ("withdrawal" if line.note else "notification")


def _given_up(store: SqlStudyStore, destination: str | None) -> list[DeliveryLine]:
    """Those that can be sent again; a result that was recalled, or corrected, stays where it is."""
    lines = store.deliveries({DeliveryState.GIVEN_UP}, destination_name=destination)
    return [line for line in lines if line.reason is None or line.reason.code not in WITHDRAWN]
