"""Real CT studies travel the whole way: pushed by C-STORE, segmented, measured, written back as DICOM SEG and SR.

python -m demo.demo [--output demo_output]
"""

import argparse
import hashlib
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from demo.comparison import Comparison, Mask, compare_with_mask, compare_with_truth, read_segments
from demo.overlay import NOTICE, write_overlay
from demo.service import Service, ServiceFailed, is_final, standalone, wait_until
from demo.studies import DemoStudy, demo_studies
from demo.tables import Row, comparison_table, results_table
from dicom_samples.real_ct import CACHE
from services.worker.load import load_volume

RESULT_S = 1800.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo. Exit code: 0 when every study got a result, else 1."""
    options = _parse(arguments)
    console = Console(stderr=True)
    results, pictures = options.output / "results", options.output / "overlays"
    for folder in (results, pictures):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    studies = demo_studies(cache=options.cache, console=console)
    try:
        with TemporaryDirectory() as data:
            log = options.output / "vigie.log"
            with standalone(data=Path(data), send_to=str(results.resolve()), log=log) as service:
                ends = follow(service, studies, console)
        rows = [judge(study, end, results, pictures) for study, end in zip(studies, ends, strict=True)]
    except ServiceFailed as error:
        console.print(f"The demo failed: {error}", style="red", markup=False)
        return 1
    show(rows, options.output)
    return 0 if all(row.state == "analysed" for row in rows) else 1


@dataclass(frozen=True, kw_only=True)
class End:
    """How a study ended: what the API says of it, and how long its C-STORE took."""

    detail: dict[str, Any]
    receive_s: float


def follow(service: Service, studies: Sequence[DemoStudy], console: Console) -> list[End]:
    """Push every study, then watch until each has come to its end. Raises ServiceFailed."""
    columns = SpinnerColumn(), TextColumn("{task.fields[study]:<18}"), TextColumn("{task.description}")
    details: dict[str, dict[str, Any] | None] = {}
    receive_s = []
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        tasks = {study.study_instance_uid: progress.add_task("waits", total=1, study=study.name) for study in studies}
        for study in studies:
            progress.update(tasks[study.study_instance_uid], description=f"C-STORE, {len(study.paths)} instances")
            receive_s.append(service.push(study.paths))

        def all_final() -> bool:
            for uid, task in tasks.items():
                details[uid] = detail = service.study(uid)
                state = detail["summary"]["state"] if detail else "received"
                progress.update(task, description=state, completed=int(is_final(detail)))
            return all(is_final(detail) for detail in details.values())

        wait_until(all_final, deadline_s=RESULT_S, what="a result for every study")
    found = [detail for detail in details.values() if detail is not None]
    return [End(detail=detail, receive_s=seconds) for detail, seconds in zip(found, receive_s, strict=True)]


def judge(study: DemoStudy, end: End, results: Path, pictures: Path) -> Row:
    """Read the delivered objects back, draw them, and compare them with what is known. Raises ServiceFailed."""
    state = end.detail["summary"]["state"]
    result = next((job["result"] for job in end.detail["versions"][0]["jobs"] if job["result"]), None)
    row = Row(study=study, state=state, receive_s=end.receive_s)
    if result is None:
        return row
    files = {
        item["sop_instance_uid"]: _delivered(results / study.study_instance_uid, item) for item in result["objects"]
    }
    row = replace(row, result=result, files=tuple(files.values()))
    if state != "analysed":
        return row
    volume = load_volume(study.paths)
    segments = [
        segment
        for item in result["objects"]
        if item["modality"] == "SEG"
        for segment in read_segments(files[item["sop_instance_uid"]], volume).values()
    ]
    write_overlay(
        pictures / f"{study.name.replace(' ', '_')}.png",
        title=f"{study.name}: {result['outcome'].replace('_', ' ')}",
        volume=volume,
        segments=segments,
        reference=None if study.reference is None else study.reference.mask,
    )
    return replace(row, comparison=_compare(study, segments, result))


def show(rows: Sequence[Row], output: Path) -> None:
    """Print the tables, and where everything lies."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=130)
    console.print(results_table(rows))
    console.print(comparison_table(rows))
    console.print(f"DICOM SEG and SR: {output / 'results'}\nPictures:         {output / 'overlays'}", soft_wrap=True)
    console.print(f"Log:              {output / 'vigie.log'}\n{NOTICE}", soft_wrap=True)


def _delivered(folder: Path, item: dict[str, Any]) -> Path:
    """The delivered file of a result object: byte for byte what was frozen. Raises ServiceFailed."""
    path = folder / f"{item['sop_instance_uid']}.dcm"
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != item["sha256"]:
        raise ServiceFailed(f"{path} is not there, or is not what was frozen")
    return path


def _compare(study: DemoStudy, segments: Sequence[Mask], result: dict[str, Any]) -> Comparison:
    if study.reference is not None:
        return compare_with_mask(segments, study.reference)
    return compare_with_truth([lesion["centroid_lps_mm"] for lesion in result["lesions"]], study.truth or ())


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo.demo", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--output", type=Path, default=Path("demo_output"), help="default: %(default)s")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of fetched samples (default: %(default)s)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    # an exception, so that the service is stopped and its data folder removed
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
