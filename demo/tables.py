"""What a person reads at the end: the results, and the real cases beside their references."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from demo.comparison import Comparison
from demo.studies import DemoStudy
from services.triage.finding import two_digits


@dataclass(frozen=True, kw_only=True)
class Row:
    """One study: its C-STORE's seconds, its result as the API tells it, its delivered files, its comparison."""

    study: DemoStudy
    state: str
    receive_s: float
    result: dict[str, Any] | None = None
    files: tuple[Path, ...] = ()
    comparison: Comparison | None = None


def results_table(rows: Sequence[Row]) -> Table:
    """Study, model, lesions, flag, files, seconds per stage."""
    table = Table("Study", "Model", "Lesions (mL, mm, score*)", "Flag", "Files", "Seconds", title="Results")
    for row in rows:
        if row.result is None:
            table.add_row(row.study.name, "", f"no result: {row.state}", "", "", "")
        else:
            table.add_row(row.study.name, *_cells(row.result, row), end_section=True)
    table.caption = "* score: the model's own, not calibrated on patients"
    return table


def _cells(result: dict[str, Any], row: Row) -> tuple[str, ...]:
    lesions = [
        f"{lesion['number']}: {lesion['volume_ml']:.2f} mL, {lesion['long_axis_mm']:.0f} mm, "
        f"{two_digits(lesion['score'])}"
        for lesion in result["lesions"]
    ]
    outcome = result["outcome"].replace("_", " ")
    if result["reason"]:
        outcome += f": {result['reason']['text']}"
    elif not lesions and result["score"] is not None:
        outcome += f" (best candidate {two_digits(result['score'])})"
    model = result["model"]
    stages = {"receive": row.receive_s} | {k: v for k, v in result["timings_s"].items() if "." not in k}
    return (
        f"{model['name']} {model['version']}\nweights {model['weights_sha256'][:8]}",
        "\n".join([outcome, *lesions]),
        result["flag"],
        "\n".join([f"{item['modality']}, {item['size_bytes'] / 1000:.0f} kB" for item in result["objects"]])
        + f"\n{len(row.files)} delivered",
        "\n".join(f"{stage} {seconds:.1f}" for stage, seconds in stages.items()),
    )


def comparison_table(rows: Sequence[Row]) -> Table:
    """Each study beside what is known of it."""
    table = Table("Study", "Known", "Found", "Dice", "False lesions", title="Beside what is known")
    for row in rows:
        seen = row.comparison
        known = "reference mask" if row.study.reference is not None else f"{len(row.study.truth or ())} painted lesions"
        if seen is None:
            table.add_row(row.study.name, known, "no result", "", "")
        else:
            dice = "" if seen.dice is None else f"{seen.dice:.2f}"
            table.add_row(
                row.study.name,
                known,
                f"{seen.found} of {seen.known}" if seen.known else "",
                dice,
                str(seen.false_lesions),
            )
    return table
