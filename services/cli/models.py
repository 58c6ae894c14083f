"""`vigie models list|show|export`: the bundles that can be asked for; and what switches them off."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from services.backends.inference.catalogue import Catalogue
from services.backends.inference.export import Device, export_repository
from services.cli import switching
from services.settings import Settings
from services.triage.errors import ModelRefused

app = typer.Typer(
    help="The models (MONAI bundles) that can be asked for, and switching them off.", no_args_is_help=True
)
app.command("off")(switching.off)
app.command("switch-off")(switching.switch_off)
app.command("switch-on")(switching.switch_on)
app.command("recall")(switching.recall)
Folder = Annotated[Path | None, typer.Option("--models", help="Folder of bundles (default: VIGIE_MODELS).")]


@app.command("list")
def list_models(folder: Folder = None) -> None:
    """List the models: name, version, what they look at, and the digest of their weights."""
    catalogue = Catalogue(folder or Settings().models)
    table = Table("Name", "Version", "Modality", "Region", "Weights (SHA-256)", "Calibrated on patients")
    refused = False
    for name in catalogue.names():
        try:
            model = catalogue.get(name)
        except ModelRefused as refusal:
            typer.echo(str(refusal), err=True)
            refused = True
            continue
        identity = model.identity
        table.add_row(
            name,
            identity.version,
            model.modality,
            model.anatomic_region.meaning,
            identity.weights_sha256[:12],
            "yes" if model.calibrated else "no",
        )
    Console().print(table)
    if refused:
        raise typer.Exit(1)


@app.command("show")
def show_model(name: Annotated[str, typer.Argument(help="A model's name.")], folder: Folder = None) -> None:
    """Print all that is known of one model, as JSON."""
    try:
        model = Catalogue(folder or Settings().models).get(name)
    except ModelRefused as refusal:
        typer.echo(str(refusal), err=True)
        raise typer.Exit(2) from refusal
    typer.echo(json.dumps(dataclasses.asdict(model), indent=2))


@app.command("export")
def export_models(
    repository: Annotated[Path, typer.Option("--repository", help="Folder of the Triton model repository.")],
    device: Annotated[Device, typer.Option("--device", help="Where the served models run.")] = Device.CPU,
    instances: Annotated[
        int, typer.Option("--instances", min=1, help="Instances of each model, each with one volume at a time.")
    ] = 1,
    folder: Folder = None,
) -> None:
    """Write a Triton model repository: every model as it is here, by digest. A changed model becomes a new version.

    Triton's Python needs vigie and MONAI; docs/triton.md says how to serve the repository.
    """
    try:
        exported = export_repository(
            Catalogue(folder or Settings().models), repository, device=device, instances=instances
        )
    except ModelRefused as refusal:
        typer.echo(str(refusal), err=True)
        raise typer.Exit(2) from refusal
    for model in exported:
        typer.echo(f"{model.name}: version {model.number}{'' if model.written else ' (unchanged)'}")
