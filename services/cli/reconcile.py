"""`vigie reconcile`: what a PACS has and Vigie has not, now, for the person who asks."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from services.backends.files import FolderStudyFiles
from services.backends.pacs import Fetch, Pacs, load_pacs
from services.backends.routing_file import load_rules
from services.backends.store import open_store
from services.cli.flags import Data, gateway_settings_from
from services.cli.tables import print_table
from services.gateway.daily import days_before
from services.gateway.intake import Intake
from services.gateway.reconciliation import Busy, Fate, Reconciliation, Report
from services.logs import configure_logging
from services.settings import Settings
from services.triage.errors import VigieError

EXIT_FAILED, EXIT_MISSING = 1, 3

_FATES = {Fate.FOUND: "not fetched", Fate.FETCHED: "fetched", Fate.FETCH_FAILED: "fetching failed"}


def reconcile(
    dates: Annotated[
        str | None,
        typer.Option(
            "--date",
            metavar="YYYY-MM-DD[:YYYY-MM-DD]",
            help="Study Date, or first and last; default: each PACS's reconcile_days before today.",
        ),
    ] = None,
    pacs: Annotated[str | None, typer.Option("--pacs", help="Only this one of the file; default: all.")] = None,
    fetch: Annotated[
        bool, typer.Option(help="Fetch what is missing, from each PACS that allows it in the file.")
    ] = True,
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Find the studies that a PACS has and that never came here, or came with fewer images; fetch them where allowed.

    VIGIE_PACS names the file of PACS (deploy/pacs.toml). Only modalities that a routing rule claims count. Asking again
    is harmless.

    Exit code: 0 nothing is missing, or all was fetched; 3 something is missing; 1 a PACS could not be asked; 2 usage.
    """
    settings = gateway_settings_from(data=data)
    configure_logging("CRITICAL")  # the table tells the rest
    among = _chosen(settings, pacs)
    days = _days(dates) if dates else None
    try:
        work = _reconciliation(settings)
        reports = _run(work, among, days, fetch=fetch)
    except (VigieError, Busy) as error:
        typer.secho(f"vigie reconcile: {error}.", err=True, fg="red")
        raise typer.Exit(EXIT_FAILED) from error
    if as_json:
        typer.echo(json.dumps([_as_json(report) for report in reports], indent=2))
    else:
        _print(reports, among)
    raise typer.Exit(_exit_code(reports))


def _chosen(settings: Settings, name: str | None) -> list[Pacs]:
    among = [each for each in load_pacs(settings) if name in (None, each.name)]
    if not among:
        where = f"{settings.pacs} has no table [{name}]" if settings.pacs else "VIGIE_PACS names no file"
        raise typer.BadParameter(f"no PACS to ask: {where}; deploy/pacs.toml is an example")
    return among


def _days(text: str) -> list[date]:
    first, _, last = text.partition(":")
    try:
        begin, end = date.fromisoformat(first), date.fromisoformat(last or first)
    except ValueError as error:
        raise typer.BadParameter(f"'{text}' is no date: write YYYY-MM-DD, or YYYY-MM-DD:YYYY-MM-DD") from error
    if end < begin:
        raise typer.BadParameter(f"'{text}' ends before it begins")
    return [begin + timedelta(days=count) for count in range((end - begin).days + 1)]


def _reconciliation(settings: Settings) -> Reconciliation:
    files = FolderStudyFiles(settings.data, min_free_mb=settings.min_free_mb)
    return Reconciliation(
        store=open_store(settings.store_url()),
        settings=settings,
        rules=load_rules(settings.routing),
        intake=Intake(files=files, max_instance_bytes=settings.max_instance_mb * 1_000_000),
    )


def _run(work: Reconciliation, among: Sequence[Pacs], days: list[date] | None, *, fetch: bool) -> list[Report]:
    today = datetime.now().astimezone().date()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("asking")
        return [
            work.run(
                each,
                days or days_before(today, each.reconcile_days),
                fetch=fetch,
                progress=lambda text: progress.update(task, description=text),
            )
            for each in among
        ]


def _print(reports: Sequence[Report], among: Sequence[Pacs]) -> None:
    table = Table("PACS", "Study date", "Study", "Images here", "Missing", "Series", "What became of it")
    for report in reports:
        for one in report.shortfalls:
            fate = f"{_FATES[one.fate]}{': ' if one.reason else ''}{one.reason}"
            cells = (one.here, one.images, len(one.missing))
            table.add_row(report.pacs, f"{one.day}", one.study_instance_uid, *map(str, cells), escape(fate))
    if table.row_count:
        print_table(table)
    for report, pacs in zip(reports, among, strict=True):
        counts = report.counts()
        typer.echo(
            f"{report.pacs}: {counts.studies} studies looked at, {counts.missing} never came, {counts.incomplete} lack "
            f"images, {counts.fetched} fetched"
        )
        if report.error:
            typer.secho(f"{report.pacs}: stopped: {report.error}", err=True, fg="red")
        if pacs.fetch is Fetch.NO and report.shortfalls:
            typer.echo(f'{report.pacs}: nothing is fetched: its table in VIGIE_PACS has no fetch = "move" or "get"')
        if len(report.shortfalls) > pacs.fetch_at_most and pacs.fetch is not Fetch.NO:
            typer.echo(f"{report.pacs}: at most {pacs.fetch_at_most} studies are fetched at a time: ask again for more")


def _as_json(report: Report) -> dict[str, object]:
    return {
        "pacs": report.pacs,
        "error": report.error or None,
        **asdict(report.counts()),
        "shortfalls": [
            {
                "study_date": one.day.isoformat(),
                "study_instance_uid": one.study_instance_uid,
                "images_here": one.here,
                "missing_by_series": one.missing,
                "fate": one.fate,
                "reason": one.reason or None,
            }
            for one in report.shortfalls
        ],
    }


def _exit_code(reports: Sequence[Report]) -> int:
    if any(report.error for report in reports):
        return EXIT_FAILED
    missing = any(one.fate is not Fate.FETCHED for report in reports for one in report.shortfalls)
    return EXIT_MISSING if missing else 0
