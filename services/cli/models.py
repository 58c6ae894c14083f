"""`vigie models list|show|add|remove|describe|export`: the bundles that can be asked for, and switching them off."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from services.backends.inference.catalogue import Catalogue
from services.backends.inference.export import Device, export_repository
from services.backends.inference.registration import content_sha256, registration_of
from services.cli import adding, calibrate, evaluate, removing, rollout, switching
from services.settings import Settings
from services.triage.errors import ModelRefused

app = typer.Typer(
    help="The models (MONAI bundles) that can be asked for, and switching them off.", no_args_is_help=True
)
app.command("add")(adding.add)
app.command("remove")(removing.remove)
app.command("describe")(adding.describe)
app.command("off")(switching.off)
app.command("switch-off")(switching.switch_off)
app.command("switch-on")(switching.switch_on)
app.command("recall")(switching.recall)
app.command("evaluate")(evaluate.evaluate)
app.command("calibrate")(calibrate.calibrate)
app.command("rollout")(rollout.show)
app.command("canary")(rollout.canary)
app.command("shadow")(rollout.shadow)
app.command("promote")(rollout.promote)
app.command("rollback")(rollout.rollback)
app.command("load")(rollout.load)
app.command("unload")(rollout.unload)
Folder = Annotated[Path | None, typer.Option("--models", help="Folder of bundles (default: VIGIE_MODELS).")]


@app.command("list")
def list_models(folder: Folder = None) -> None:
    """List the models: name, standing version, what they look at, digest of their weights, licence, and trust.

    What is here but cannot be used yet is told below, with what is missing; so is each bundle that cannot be read, with
    the reason: it stops none but itself.
    Exit code: 0, or 1 when a bundle cannot be read.
    """
    catalogue = Catalogue(folder or Settings().models)
    table = Table("Name", "Version", "Modality", "Region", "Weights (SHA-256)", "Calibrated", "Licence", "Code")
    for name in catalogue.names():
        try:
            model = catalogue.get(name)
        except ModelRefused:  # told below
            continue
        identity = model.identity
        table.add_row(
            name,
            identity.version,
            model.modality,
            model.anatomic_region.meaning,
            identity.weights_sha256[:12],
            "yes" if model.calibrated else "no",
            *_registered(catalogue.bundle(name)),
        )
    Console(width=None if Console().is_terminal else 200).print(table)
    for bundle in catalogue.undescribed():
        typer.echo(f"{bundle.name}: not used before it is said what its classes mean: vigie models describe", err=True)
    unreadable = list(catalogue.unreadable())
    for bundle, refusal in unreadable:
        typer.echo(f"{bundle.name}: unreadable: {refusal}", err=True)
    if unreadable:
        raise typer.Exit(1)


@app.command("show")
def show_model(name: Annotated[str, typer.Argument(help="A model's name.")], folder: Folder = None) -> None:
    """Print all that is known of one model, as JSON."""
    catalogue = Catalogue(folder or Settings().models)
    try:
        model, bundle = catalogue.get(name), catalogue.bundle(name)
        registration = registration_of(bundle)
    except ModelRefused as refusal:
        typer.echo(str(refusal), err=True)
        raise typer.Exit(2) from refusal
    told = {
        **dataclasses.asdict(model),
        "content_sha256": content_sha256(bundle),
        "registration": dataclasses.asdict(registration) if registration else None,
    }
    typer.echo(json.dumps(told, indent=2))


def _registered(bundle: Path) -> tuple[str, str]:
    """Its licence, and whether it may run code of its own."""
    try:
        registration = registration_of(bundle)
    except ModelRefused as refusal:
        return refusal.reason.text, ""
    if registration is None:
        return "put here by hand", ""
    trusted = registration.trusted
    if trusted is None:
        return registration.licence, ""
    lapsed = "" if registration.sha256 == content_sha256(bundle) else ", but it has changed since"
    return registration.licence, f"trusted by {trusted.by}{lapsed}"


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
