"""`vigie models calibrate`: what a model's score is worth, on studies with reference masks."""

import getpass
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from services.cli.adding import write_down
from services.cli.evaluate import Folder, Structures, judge_all, needs_evaluation
from services.settings import Settings
from services.triage.audit_types import AuditType
from services.triage.calibration import LEAST_STUDIES, Method
from services.triage.errors import ModelRefused, OutOfResources


def calibrate(
    name: Annotated[str, typer.Argument(help="The model.")],
    paths: Annotated[list[Path], typer.Argument(exists=True, help="Folders of studies and their reference masks.")],
    output: Annotated[Path, typer.Option("--output", help="Folder for calibration.json and .png.", file_okay=False)],
    of_patients: Annotated[
        bool,
        typer.Option(
            "--of-patients", help="These are real patients of the intended population: no phantoms, nothing trained on."
        ),
    ] = False,
    although_few: Annotated[
        bool,
        typer.Option(
            "--although-not-calibrated",
            help=f"Write the map into the bundle with fewer than {LEAST_STUDIES} studies of patients that have a "
            "candidate. The result is called a score, as before.",
        ),
    ] = False,
    method: Annotated[
        Method,
        typer.Option(
            "--method",
            help="isotonic: a map of steps, for many studies. temperature: one number, for few; a score above one half "
            "stays above it. auto: the one with the lower Brier score out of fold.",
        ),
    ] = Method.AUTO,
    structures: Structures = "*",
    folder: Folder = None,
) -> None:
    """Fit a map from scores to probabilities, and write it into the bundle if it rests on enough patients.

    References are found as `vigie models evaluate` finds them. The map is judged on studies that it was not fitted on;
    it rises strictly and the thresholds go through it, too: no lesion, outcome or flag changes, only the number that is
    said. Only with --of-patients and at least 200 studies that have a candidate is the model called calibrated.

    Exit code: 0 written into the bundle; 3 not, for too few; 1 cannot be fitted, or written; 2 usage.
    """
    needs_evaluation()
    from services.backends.inference.catalogue import Catalogue
    from services.backends.inference.registration import content_sha256
    from services.evaluation.calibrate import calibrate as fitted_on
    from services.evaluation.calibrate import candidates_of
    from services.evaluation.model_card import card_text, write_evidence, write_into
    from services.evaluation.run import Criteria

    console = Console(stderr=True)
    model, records, _ = judge_all(
        paths,
        name,
        folder,
        Criteria(structures=structures),
        console,
        as_it_is=lambda one: replace(one, calibration=None),
    )
    try:
        fitted = fitted_on(candidates_of(records), method)
    except ValueError as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from error
    studies = fitted.calibration.studies
    calibrated = of_patients and studies >= LEAST_STUDIES
    for path in write_evidence(output, fitted):
        typer.echo(path)
    typer.echo(card_text(fitted, calibrated=calibrated))
    if not calibrated and not although_few:
        few = f"{studies} of {studies + fitted.without} studies have a candidate, {LEAST_STUDIES} are needed"
        why = few if of_patients else "not said to be --of-patients"
        console.print(f"the bundle stays as it is: {why}", soft_wrap=True)
        raise typer.Exit(3)
    settings = Settings()
    bundle = Catalogue(folder or settings.models).bundle(name)
    try:
        write_into(bundle, fitted, calibrated=calibrated)
    except (ModelRefused, OutOfResources) as refusal:
        console.print(f"not written into {bundle}: {refusal}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from refusal
    details = {
        "version": model.identity.version,
        "sha256": content_sha256(bundle),
        "method": fitted.method.value,
        "studies": str(studies),
        "calibrated": str(calibrated).lower(),
    }
    write_down(settings, AuditType.MODEL_CALIBRATED, name, details, who=getpass.getuser(), now=datetime.now(UTC))
    console.print(
        f"written into {bundle}: {'calibrated' if calibrated else 'NOT calibrated on patients'}", soft_wrap=True
    )
