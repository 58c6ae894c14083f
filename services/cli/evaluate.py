"""`vigie models evaluate`: a model on studies with reference masks, as a report."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from services.logs import configure_logging
from services.settings import Settings
from services.triage.errors import ModelRefused, RejectedError, VersionNotHere
from services.triage.model import Model
from services.triage.organ import NO_TUMOUR_CLASS
from services.triage.uncertainty import UncertaintyMode

if TYPE_CHECKING:
    from services.evaluation.compare import StudyRecord
    from services.evaluation.run import Criteria, LeftOut

Name = Annotated[str | None, typer.Option("--model", help="The model (default: the only one there is).")]
Structures = Annotated[
    str, typer.Option("--structures", help="Pattern of the segments and regions of interest that are lesions, 'GTV*'.")
]
UnexpectedToo = Annotated[
    bool,
    typer.Option("--unexpected-too", help="Also series that the model would refuse in service, as unlike its own."),
]
Folder = Annotated[Path | None, typer.Option("--models", help="Folder of bundles (default: VIGIE_MODELS).")]


def evaluate(
    paths: Annotated[list[Path], typer.Argument(exists=True, help="Folders of studies and their reference masks.")],
    output: Annotated[Path, typer.Option("--output", help="Folder for evaluation.html and .json.", file_okay=False)],
    model: Name = None,
    structures: Structures = "*",
    tolerance_mm: Annotated[
        float, typer.Option("--tolerance-mm", min=0.1, help="Of the normalised surface distance.")
    ] = 2.0,
    unexpected_too: UnexpectedToo = False,
    uncertainty: Annotated[
        UncertaintyMode | None,
        typer.Option(
            "--uncertainty",
            help="flips: also whether the spread over mirrored runs tells lesions from false candidates; about four "
            "times the work (default: VIGIE_UNCERTAINTY).",
        ),
    ] = None,
    folder: Folder = None,
) -> None:
    """Judge a model on studies with reference masks: Dice, surfaces, lesions found, false ones, volumes, by subgroup.

    References are DICOM SEG and RTSTRUCT (found by what they reference) and NIfTI masks named by the Series or Study
    Instance UID, or `reference.nii.gz` beside a series' files; `reference.none` there: no lesion (docs/models.md).
    Exit code: 0 every study was judged; 1 none could be; 3 some were left out; 2 usage.
    """
    needs_evaluation()
    from services.evaluation.report import write_report
    from services.evaluation.run import Criteria
    from services.evaluation.summary import summarise

    console = Console(stderr=True)
    criteria = Criteria(
        structures=structures,
        tolerance_mm=tolerance_mm,
        unexpected_too=unexpected_too,
        uncertainty=uncertainty or Settings().uncertainty,
    )
    chosen, records, left_out = judge_all(paths, model, folder, criteria, console)
    if not records:
        raise typer.Exit(1)
    summary = summarise(records, detect=chosen.thresholds.detect)
    written = write_report(output, model=chosen, criteria=criteria, records=records, left_out=left_out, summary=summary)
    for path in written:
        typer.echo(path)
    raise typer.Exit(3 if left_out else 0)


def judge_all(
    paths: Sequence[Path],
    name: str | None,
    folder: Path | None,
    criteria: "Criteria",
    console: Console,
    as_it_is: Callable[[Model], Model] = lambda model: model,
) -> tuple[Model, "list[StudyRecord]", "list[LeftOut]"]:
    """All records, with a display of what is done; whatever is left out is told as it happens.

    as_it_is: what of the model is judged.
    """
    from services.backends.inference.catalogue import Catalogue
    from services.backends.inference.embedded import EmbeddedSegmenter
    from services.evaluation.run import LeftOut, judged

    configure_logging("WARNING")
    settings = Settings().model_copy(update={"uncertainty": criteria.uncertainty})
    catalogue = Catalogue(folder or settings.models)
    records: list[StudyRecord] = []
    left_out: list[LeftOut] = []
    try:
        model = as_it_is(catalogue.get(name or _only(catalogue.names())))
        if not model.tumour_values:
            raise ModelRefused(NO_TUMOUR_CLASS.code, NO_TUMOUR_CLASS.text)
        segmenter = EmbeddedSegmenter(
            catalogue,
            threads=settings.threads,
            mode=settings.inference,
            converted=settings.converted_folder,
            flips_within_s=settings.flips_within_s,
        )
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("reading files")
            for one in judged(
                paths,
                model,
                segmenter,
                criteria,
                max_volume_voxels=settings.max_volume_voxels,
                progress=lambda told: progress.update(task, description=told),
            ):
                if isinstance(one, LeftOut):
                    left_out.append(one)
                    told = f"left out: {one.study_instance_uid or 'of no study'}: {one.reason.text}"
                    console.print(told, soft_wrap=True, highlight=False, markup=False)
                else:
                    records.append(one)
    except (RejectedError, VersionNotHere) as refusal:
        console.print(str(refusal), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(2) from refusal
    studies = len({one.study_instance_uid for one in left_out} - {None})
    told = f"{len(records)} series judged, {studies} studies left out, whole or in part"
    console.print(told, highlight=False, soft_wrap=True)
    return model, records, left_out


def needs_evaluation() -> None:
    """Ends with what to install, where that is missing."""
    missing = [name for name in ("monai", "matplotlib", "highdicom") if importlib.util.find_spec(name) is None]
    if missing:
        typer.echo(f"{', '.join(missing)} missing: pip install '.[worker,embedded,evaluation]'", err=True)
        raise typer.Exit(2)


def _only(names: Sequence[str]) -> str:
    if len(names) != 1:
        raise typer.BadParameter(f"--model must name one of: {', '.join(names) or 'none'}")
    return names[0]
