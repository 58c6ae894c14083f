"""`vigie observatory report`: how well the AI does, for the oversight board."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from services.cli.database import opened_store
from services.settings import Settings
from services.triage.errors import StoreUnavailable

app = typer.Typer(help="How well the AI does, and for whom (docs/observatory.md).", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `report` a word of its own while it is the only command."""


@app.command()
def report(
    month: Annotated[str, typer.Option(metavar="YYYY-MM", help="The month, in UTC.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file; it needs nothing beside it.")],
    language: Annotated[str, typer.Option(help="en or fr.")] = "en",
) -> None:
    """Write a month's report for the oversight board: every model version, by group, with alarms and limits.

    It names no patient and no study. Exit code: 0 it is written, 1 the database does not answer, 2 wrong usage.
    """
    # only here: the figures need scipy, which no other command waits for
    from services.gateway.language import LANGUAGES
    from services.gateway.observatory.looking import look
    from services.gateway.observatory.report import month as window_of
    from services.gateway.observatory.report import write_report

    try:
        window = window_of(month)
    except ValueError as error:
        raise typer.BadParameter(f"'{month}' is no month: write YYYY-MM", param_hint="--month") from error
    if language not in LANGUAGES:
        raise typer.BadParameter(f"'{language}' is none of {', '.join(LANGUAGES)}", param_hint="--language")
    settings = Settings()
    observations = opened_store(settings).observations
    try:
        observations.fill()
        found = [
            look(observations, window, model, version, minimum=settings.observatory_minimum)
            for model, version, _ in observations.models(window.span)
        ]
        out_of_scope = observations.out_of_scope(window.span)
    except StoreUnavailable as error:
        typer.echo(f"The database does not answer: {error}.", err=True)
        raise typer.Exit(1) from error
    html = write_report(
        found,
        window,
        out_of_scope=out_of_scope,
        language=language,
        grid_g_per_kwh=settings.grid_g_per_kwh,
        now=datetime.now(UTC),
    )
    output.write_text(html, encoding="utf-8")
    typer.echo(f"{output}: {len(found)} model versions, {sum(one.studies for one in found)} studies")
