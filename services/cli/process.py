"""`vigie process`: the whole pipeline on files, no server."""

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from services import __version__
from services.logs import configure_logging
from services.settings import Settings
from services.triage.errors import RejectedError, VersionNotHere
from services.triage.result import FALLBACKS, ObjectKind
from services.triage.study import by_series

if TYPE_CHECKING:
    from services.cli.document import Document

EXIT_FAILED, EXIT_USAGE, EXIT_INCOMPLETE = 1, 2, 3


class FallbackChoice(StrEnum):
    """What `--fallback` takes: one kind, or all of them."""

    GSPS = ObjectKind.GSPS.value
    SC = ObjectKind.SC.value
    KOS = ObjectKind.KOS.value
    ALL = "all"


def process(
    paths: Annotated[list[Path], typer.Argument(exists=True, help="DICOM files, or folders of them.")],
    output: Annotated[Path, typer.Option("--output", help="Folder for the results.", file_okay=False)],
    model: Annotated[
        str | None, typer.Option("--model", help="Use this model, whatever the routing rules say.")
    ] = None,
    fallback: Annotated[
        list[FallbackChoice] | None,
        typer.Option(
            "--fallback",
            help="Where lesions are found, add objects for viewers that cannot show SEG: gsps (presentation state with "
            "outlines), sc (colour pictures of the key slices), kos (key object selection). May be given again.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Analyse the studies in files and folders, and write SEG and SR objects; on request also overlays.

    Exit code: 0 all analysed; 1 a study failed; 3 one was out of scope or not analysed, or there was none; 2 usage.
    """
    configure_logging("WARNING")
    console = Console(stderr=True)
    try:
        document = _run(paths, output.resolve(), model, _wanted(fallback or ()), console)
    except (RejectedError, VersionNotHere) as refusal:  # a model or a rules file that cannot be used
        console.print(f"vigie process: {refusal}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(EXIT_USAGE) from refusal
    if as_json:
        typer.echo(document.model_dump_json(indent=2))
    else:
        _print(document, console)
    raise typer.Exit(exit_code(document))


def _wanted(choices: Collection[FallbackChoice]) -> frozenset[ObjectKind]:
    if FallbackChoice.ALL in choices:
        return frozenset(FALLBACKS)
    return frozenset(ObjectKind(choice.value) for choice in choices)


def exit_code(document: "Document") -> int:
    """0 all analysed; 1 a study failed; 3 a study was out of scope or not analysed, or there was none."""
    states = {study.status for study in document.studies}
    if "failed" in states:
        return EXIT_FAILED
    return 0 if states == {"analysed"} else EXIT_INCOMPLETE


def _run(
    paths: list[Path], output: Path, model_name: str | None, fallbacks: Collection[ObjectKind], console: Console
) -> "Document":
    # here, not above: torch takes seconds to import, and a gateway is installed without it
    from services.backends.inference.catalogue import Catalogue
    from services.backends.inference.embedded import EmbeddedSegmenter
    from services.backends.routing_file import load_rules
    from services.cli.document import Document, FilesReport, rejected_report, study_report
    from services.triage.routing import plan, plan_for_model
    from services.worker.offline import analyse_study, scan

    settings = Settings()
    catalogue = Catalogue(settings.models)
    forced = catalogue.get(model_name) if model_name else None
    rules = load_rules(settings.routing)
    segmenter = EmbeddedSegmenter(
        catalogue,
        threads=settings.threads,
        mode=settings.inference,
        converted=settings.converted_folder,
        flips_within_s=settings.flips_within_s,
    )
    studies = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("reading files")
        found = scan(paths, lambda count: progress.update(task, description=f"reading files: {count}"))
        for number, uid in enumerate(found.studies, start=1):
            series = by_series(tuple(found.studies[uid].values()))
            planned = plan_for_model(series, forced.identity.name, forced.modality) if forced else plan(series, rules)
            written = analyse_study(
                uid,
                found,
                planned,
                model_of=catalogue.get,
                segmenter=segmenter,
                output=output,
                max_volume_voxels=settings.max_volume_voxels,
                fallbacks=fallbacks,
                now=datetime.now(UTC),
                progress=_stages(progress, task, f"study {number} of {len(found.studies)}"),
            )
            studies.append(study_report(uid, planned, written))
    files = FilesReport(read=found.read, rejected=rejected_report(found.rejected))
    return Document(vigie_version=__version__, studies=studies, files=files)


def _stages(progress: Progress, task: TaskID, where: str) -> Callable[[str], None]:
    return lambda stage: progress.update(task, description=f"{where}: {stage}")


def _print(document: "Document", console: Console) -> None:
    from services.cli.document import summary_table

    Console().print(summary_table(document))
    for result in (result for study in document.studies for result in study.results):
        for written in result.outputs:
            console.print(f"{written.modality}: {written.path}", soft_wrap=True, highlight=False, markup=False)
    for rejected in document.files.rejected:
        told = f"left out: {rejected.path}: {rejected.reason.text}"
        console.print(told, soft_wrap=True, highlight=False, markup=False)
    console.print("Not a medical device: a person reads every study.")
