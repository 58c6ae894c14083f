"""`vigie commitments list|report`: storage commitment that others ask of us (VIGIE_COMMITMENT)."""

import getpass
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from services.cli.database import opened_store
from services.cli.tables import print_table
from services.triage.commitment import RequestState

app = typer.Typer(help="Storage commitment that other AEs ask of Vigie.", no_args_is_help=True)

LISTED = frozenset(RequestState) - {RequestState.REPORTED}

Requester = Annotated[str | None, typer.Option("--ae", metavar="AE_TITLE", help="Only those of this calling AE.")]


@app.command("list")
def list_requests(
    state: Annotated[list[RequestState] | None, typer.Option(help="Which; may be given many times.")] = None,
    ae_title: Requester = None,
) -> None:
    """List requests, oldest first; without --state all but those that were reported.

    asked: some instance is undecided; decided: the report is on its way; given_up: it could not be brought.
    """
    table = Table("Transaction", "AE", "State", "Instances", "Committed", "Failed", "Tries", "Since (UTC)", "Reason")
    lines = opened_store().requests.lines(set(state) if state else LISTED, calling_ae_title=ae_title)
    for line in lines:
        reason = f"{line.reason.text} [{line.reason.code}]" if line.reason else ""
        counts = (line.instances, line.committed, line.failed, line.attempt)
        table.add_row(
            line.transaction_uid,
            escape(line.calling_ae_title),
            line.state,
            *map(str, counts),
            f"{line.asked_at:%Y-%m-%d %H:%M}",
            escape(reason),
        )
    print_table(table)


@app.command()
def report(
    transactions: Annotated[list[str] | None, typer.Argument(help="Transaction UIDs, as `list` shows them.")] = None,
    all_given_up: Annotated[bool, typer.Option("--all", help="All that were given up.")] = False,
    ae_title: Requester = None,
) -> None:
    """Report once more what was given up, once the AE is mended; the history notes who asked.

    Exit code: 0 all will be reported, 1 some will not (not given up, or unknown), 2 wrong usage.
    """
    if bool(transactions) == all_given_up:
        raise typer.BadParameter("name transactions, or say --all")
    requests = opened_store().requests
    given_up = requests.lines({RequestState.GIVEN_UP}, calling_ae_title=ae_title)
    wanted = transactions or [line.transaction_uid for line in given_up]
    done = requests.report_again(wanted, actor=getpass.getuser(), now=datetime.now(UTC))
    for uid in sorted(set(wanted) - set(done)):
        typer.echo(f"{uid}: not given up, or unknown", err=True)
    typer.echo(f"{len(done)} of {len(wanted)} will be reported again")
    if len(done) < len(wanted):
        raise typer.Exit(1)
