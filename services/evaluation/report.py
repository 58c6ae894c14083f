"""The report of an evaluation: one HTML file with its plots in it, and the same as JSON."""

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
from jinja2 import Environment, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from services import __version__
from services.evaluation.compare import StudyRecord
from services.evaluation.run import Criteria, LeftOut
from services.evaluation.separation import with_spread
from services.evaluation.summary import Summary
from services.observatory.estimate import Estimate
from services.triage.model import Model

mpl.use("Agg")
PAGE = Path(__file__).with_name("report.html")


def write_report(
    folder: Path,
    *,
    model: Model,
    criteria: Criteria,
    records: Sequence[StudyRecord],
    left_out: Sequence[LeftOut],
    summary: Summary,
) -> tuple[Path, Path]:
    """Write evaluation.html and evaluation.json; answers both paths.

    They name studies by UID, files that cannot be read by their names, and no patient.
    """
    told = {
        "vigie_version": __version__,
        "model": asdict(model.identity),
        "thresholds": asdict(model.thresholds),
        "calibrated": model.calibrated,
        "criteria": asdict(criteria),
        "summary": asdict(summary),
        "studies": [asdict(one) for one in records],
        "left_out": [asdict(one) for one in left_out],
    }
    folder.mkdir(parents=True, exist_ok=True)
    as_json, as_html = folder / "evaluation.json", folder / "evaluation.html"
    as_json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters |= {"estimate": estimate_words, "percent": percent_words}
    plots = {
        "FROC: lesions found against false ones per series": _froc(summary, model),
        "Volume agreement (Bland and Altman)": _bland_altman(records, summary),
        "Dice and normalised surface distance by size": _by_study(records),
    }
    if summary.separation is not None:
        plots["Spread over mirrored runs against the score, of each candidate"] = _spread(records, model)
    text = page.from_string(PAGE.read_text(encoding="utf-8")).render(
        version=__version__,
        model=model,
        criteria=criteria,
        summary=summary,
        records=records,
        left_out=left_out,
        plots=plots,
    )
    as_html.write_text(text, encoding="utf-8")
    return as_html, as_json


def estimate_words(one: Estimate, digits: int = 2) -> str:
    """`0.83 (0.75 to 0.89), 94 of 113`; a dash where nothing was counted."""
    if one.value is None:
        return "-"
    interval = "" if one.lower is None or one.upper is None else f" ({one.lower:.{digits}f} to {one.upper:.{digits}f})"
    counted = f", {one.count} of {one.n}" if one.count is not None else ""
    return f"{one.value:.{digits}f}{interval}{counted}"


def percent_words(one: Estimate) -> str:
    """`83 % (75 to 89), 94 of 113`."""
    if one.value is None:
        return "-"
    interval = "" if one.lower is None or one.upper is None else f" ({100 * one.lower:.0f} to {100 * one.upper:.0f})"
    return f"{100 * one.value:.0f} %{interval}, {one.count} of {one.n}"


def as_png(figure: Figure) -> str:
    """A figure as a data URL."""
    figure.tight_layout()
    file = BytesIO()
    figure.savefig(file, format="png", dpi=90)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def empty_plot(width: float = 4.8) -> tuple[Figure, Axes]:
    """A figure with one plot."""
    figure = Figure(figsize=(width, 3.6))
    return figure, figure.subplots()


def _froc(summary: Summary, model: Model) -> str:
    figure, axes = empty_plot()
    points = [one for one in summary.froc if one.sensitivity.value is not None]
    x = [one.false_per_series.value or 0.0 for one in points]
    axes.fill_between(
        x,
        [one.sensitivity.lower or 0.0 for one in points],
        [one.sensitivity.upper or 1.0 for one in points],
        alpha=0.2,
        step="post",
    )
    axes.step(x, [one.sensitivity.value or 0.0 for one in points], where="post")
    overall = summary.overall
    if overall.sensitivity.value is not None:
        label = f"detect = {model.thresholds.detect:g}"
        axes.plot([overall.false_per_series.value or 0.0], [overall.sensitivity.value], "o", color="black", label=label)
        axes.legend(loc="lower right")
    axes.set(xlabel="false lesions per series", ylabel="share of lesions found", ylim=(0, 1.02))
    axes.set_xlim(left=0)
    return as_png(figure)


def _bland_altman(records: Sequence[StudyRecord], summary: Summary) -> str:
    figure, axes = empty_plot()
    axes.plot(
        [(one.found_ml + one.reference_ml) / 2 for one in records],
        [one.found_ml - one.reference_ml for one in records],
        "o",
    )
    for estimate, style in (
        (summary.agreement.bias_ml, "-"),
        (summary.agreement.lower_ml, "--"),
        (summary.agreement.upper_ml, "--"),
    ):
        if estimate.value is not None:
            axes.axhline(estimate.value, linestyle=style, color="grey")
    axes.set(xlabel="mean of found and true volume, mL", ylabel="found minus true, mL")
    return as_png(figure)


def _by_study(records: Sequence[StudyRecord]) -> str:
    figure, axes = empty_plot()
    with_lesion = [one for one in records if one.reference_ml]
    size = [one.reference_ml for one in with_lesion]
    axes.plot(size, [one.dice or 0.0 for one in with_lesion], "o", label="Dice")
    axes.plot(size, [one.surface_dice or 0.0 for one in with_lesion], "x", label="normalised surface distance")
    if with_lesion:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.legend(loc="best")
    axes.set(xlabel="true volume of a study, mL", ylim=(-0.02, 1.02))
    return as_png(figure)


def _spread(records: Sequence[StudyRecord], model: Model) -> str:
    figure, axes = empty_plot()
    told = with_spread(records)
    for hit, marker, label in ((True, "o", "hits a lesion"), (False, "x", "false")):
        mine = [(one.score, sd) for _, one, sd in told if one.hit is hit]
        axes.plot([score for score, _ in mine], [sd for _, sd in mine], marker, label=label, clip_on=False)
    axes.axvline(model.thresholds.detect, linestyle="--", color="grey", label=f"detect = {model.thresholds.detect:g}")
    axes.legend(loc="best")
    axes.set(xlabel="score", ylabel="standard deviation over the runs", xlim=(0, 1.02))
    axes.set_ylim(bottom=0)
    return as_png(figure)
