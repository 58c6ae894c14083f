"""`vigie size`: how large an installation must be."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from services.sizing.estimate import CONSTANTS, Estimate, Question, estimate
from services.sizing.mix import AN_HOUR, MIX
from services.triage.uncertainty import UncertaintyMode

_TOLD: dict[str, tuple[str, str]] = {
    "studies_per_day": ("studies a day", "{:,.0f}"),
    "instances_per_hour": ("instances in the busiest hour", "{:,.0f}"),
    "analysed_per_hour": ("studies analysed in the busiest hour", "{:,.0f}"),
    "network_mbit_s": ("network, busiest hour on average (Mbit/s)", "{:,.0f}"),
    "door_replicas": ("doors (2 cores each)", "{}"),
    "worker_replicas": ("workers", "{}"),
    "triton_replicas": ("Triton replicas: a GPU each", "{}"),
    "received_gb_per_day": ("images received a day (GB)", "{:,.0f}"),
    "images_tb": ("disk for received images (TB)", "{:,.1f}"),
    "results_gb_per_year": ("disk for results, a year (GB)", "{:,.0f}"),
    "database_gb_per_year": ("database, a year (GB)", "{:,.1f}"),
}


def size(
    studies_per_hour: Annotated[float, typer.Option(help="In the busiest hour.")] = AN_HOUR,
    mix: Annotated[
        str,
        typer.Option(
            metavar="CT=30,MR=25,...", help="Studies by modality, in any proportion; default: a large hospital's."
        ),
    ] = "",
    analysed: Annotated[str, typer.Option(metavar="CT,MR,...", help="Modalities that models look at.")] = "CT,MR,PT",
    retention_days: Annotated[float, typer.Option(help="How long received images are kept.")] = 7,
    spare: Annotated[int, typer.Option(help="Replicas of each kind that may be away.")] = 1,
    uncertainty: Annotated[
        UncertaintyMode, typer.Option(help="As VIGIE_UNCERTAINTY of the workers. flips: mirrored runs, too.")
    ] = UncertaintyMode.OFF,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Another value of a constant; may be given again."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document, with all constants.")] = False,
) -> None:
    """Size an installation: replicas, GPUs, network and disk for so many studies an hour.

    An estimate from what was measured on one machine of 2 cores; each constant is printed with its source. Measure
    your own model on your own GPU, and --set model_s. Exit code: 0, or 2 for wrong usage.
    """
    constants = {name: each.value for name, each in CONSTANTS.items()} | _numbers(set_ or [], "--set")
    if unknown := sorted(constants.keys() - CONSTANTS.keys()):
        raise typer.BadParameter(f"no constant {', '.join(unknown)}: {', '.join(CONSTANTS)}", param_hint="--set")
    wanted = _numbers(mix.split(","), "--mix") if mix else {kind.modality: float(kind.an_hour) for kind in MIX}
    question = Question(
        studies_per_hour=studies_per_hour,
        mix=wanted,
        analysed=frozenset(filter(None, analysed.upper().split(","))),
        retention_days=retention_days,
        spare=spare,
        uncertainty=uncertainty,
        constants=constants,
    )
    try:
        found = estimate(question)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if as_json:
        told = {"constants": {name: {"value": constants[name], "source": CONSTANTS[name].source} for name in constants}}
        typer.echo(
            json.dumps({"estimate": found.as_dict(), "mix": wanted, "uncertainty": uncertainty} | told, indent=2)
        )
        return
    _print(found, constants, uncertainty)


def _print(found: Estimate, constants: dict[str, float], uncertainty: UncertaintyMode) -> None:
    console = Console()
    table = Table("needed", "", box=None, pad_edge=False)
    for name, value in found.as_dict().items():
        what, form = _TOLD[name]
        table.add_row(what, form.format(value))
    console.print(table)
    if uncertainty is UncertaintyMode.FLIPS:
        times = f"{constants['flips_times']:g} times its model_s (flips_times)"
        console.print(f"\nWith VIGIE_UNCERTAINTY=flips: a model takes {times}.", highlight=False)
    console.print("\nFrom these constants (--set NAME=VALUE):")
    for name, value in constants.items():
        console.print(f"  {name} = {value:g} {CONSTANTS[name].unit}", highlight=False)
        console.print(f"    {CONSTANTS[name].source}", style="dim", highlight=False)


def _numbers(words: list[str], option: str) -> dict[str, float]:
    """NAME=NUMBER each."""
    found = {}
    for word in words:
        name, _, number = word.partition("=")
        try:
            found[name.strip().upper() if option == "--mix" else name.strip()] = float(number)
        except ValueError as error:
            raise typer.BadParameter(f"'{word}' is no NAME=NUMBER", param_hint=option) from error
    return found
