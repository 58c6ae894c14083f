"""`vigie standalone`: all parts in one command."""

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from services.backends.senders import parse_destination
from services.settings import Settings
from services.standalone import CannotStart, run_standalone


def standalone(
    data: Annotated[Path | None, typer.Option(help="Folder of everything that is kept.", file_okay=False)] = None,
    http: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="The work list and the API.")] = None,
    dicom: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="The DICOM listener.")] = None,
    ae_title: Annotated[str | None, typer.Option(help="Our AE title.")] = None,
    quiet_period: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="A study is complete when nothing arrived for so long.")
    ] = None,
    send_to: Annotated[
        list[str] | None,
        typer.Option(metavar="AET@HOST:PORT", help="Where results go, or a folder's path; may be given many times."),
    ] = None,
) -> None:
    """Run everything on this machine: DICOM listener, work list, analysis and delivery.

    A flag wins over its VIGIE_... variable; `vigie settings` lists the variables and what is in force.
    """
    flags: dict[str, Any] = {
        "data": data.resolve() if data else None,
        "http": http,
        "dicom": dicom,
        "ae_title": ae_title,
        "quiet_period_s": quiet_period,
        "send_to": tuple(send_to) if send_to else None,
    }
    console = Console(stderr=True)
    try:
        settings = Settings(**{name: value for name, value in flags.items() if value is not None})
        for destination in settings.send_to:
            parse_destination(destination)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise typer.BadParameter(wrong) from error
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    try:
        run_standalone(settings, announce=lambda: console.print(_welcome(settings)))
    except CannotStart as error:
        console.print(f"vigie standalone: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    console.print("Stopped; nothing is lost.")


def _welcome(settings: Settings) -> Table:
    table = Table(box=None, show_header=False)
    table.add_row("DICOM", f"{settings.ae_title}@{settings.dicom}")
    table.add_row("Work list", f"http://{settings.http}/")
    table.add_row("Data", str(settings.data))
    table.add_row("Results go to", ", ".join(settings.send_to) or "nowhere else: see the work list")
    table.add_row("Stop", "Ctrl+C")
    return table
