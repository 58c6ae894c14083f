"""A calibration into a bundle, whose own files stay as they came: its triage section, a model card with a diagram."""

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict
from math import nan
from pathlib import Path

from services.backends.files import durable
from services.backends.inference.bundle_files import CALIBRATION, TRIAGE, triage_of
from services.evaluation.calibrate import Bin, Fitted, Reliability
from services.evaluation.report import as_png, empty_plot, estimate_words
from services.triage.calibration import Method, Temperature

NAMES = {Method.ISOTONIC: "isotonic regression", Method.TEMPERATURE: "temperature scaling"}


def write_evidence(folder: Path, fitted: Fitted) -> tuple[Path, Path]:
    """calibration.json and calibration.png: what was fitted, and how well it holds."""
    folder.mkdir(parents=True, exist_ok=True)
    as_json, picture = folder / "calibration.json", folder / "calibration.png"
    as_json.write_text(json.dumps(asdict(fitted), indent=1) + "\n", encoding="utf-8")
    picture.write_bytes(base64.b64decode(_diagram(fitted).partition(",")[2]))
    return as_json, picture


def write_into(bundle: Path, fitted: Fitted, *, calibrated: bool) -> None:
    """The `calibration` and `calibrated` keys, and their evidence.

    The section that counts moves into triage.json where it stood in the metadata. Raises ModelRefused, OutOfResources.
    """
    triage = {**triage_of(bundle), "calibration": asdict(fitted.calibration), "calibrated": calibrated}
    card, _, _ = CALIBRATION
    with durable.as_out_of_resources():
        write_evidence((bundle / card).parent, fitted)
        (bundle / card).write_text(card_text(fitted, calibrated=calibrated) + "\n", encoding="utf-8")
    # last: from here on the pipeline goes by it
    told = json.dumps(triage, indent=2, ensure_ascii=False) + "\n"
    durable.replace(told.encode(), bundle / TRIAGE, via=bundle)


def card_text(fitted: Fitted, *, calibrated: bool) -> str:
    """For the model card."""
    studies = fitted.calibration.studies
    without = f" {fitted.without} more studies had no candidate and\ncount for nothing." if fitted.without else ""
    what = "A probability that a candidate is a lesion" if calibrated else "A score, not calibrated on patients"
    return f"""\
## Calibration

{what}: {_method(fitted)} on {fitted.candidates} candidates of {studies} studies with reference masks.{without}
'After' is out of fold: each study by a calibration of the others. Intervals are 95 %: by a bootstrap
over studies, in the diagram Wilson's on as many studies as its candidates are worth.{_choice(fitted)}

| | before | after |
| --- | --- | --- |
| expected calibration error, 10 bins of equal counts | {_words(fitted.before)[0]} | {_words(fitted.after)[0]} |
| Brier score | {_words(fitted.before)[1]} | {_words(fitted.after)[1]} |

![reliability diagram](calibration.png)"""


def _method(fitted: Fitted) -> str:
    told = fitted.calibration
    return (
        f"temperature scaling (T = {told.temperature:.3g})" if isinstance(told, Temperature) else NAMES[fitted.method]
    )


def _choice(fitted: Fitted) -> str:
    if len(fitted.brier) < 2:
        return ""
    told = ", ".join(f"{brier:.4f} by {NAMES[method]}" for method, brier in fitted.brier.items())
    return f" Chosen for the\nlower Brier score out of fold: {told}; of the better of two it is a little too good."


def _words(told: Reliability) -> tuple[str, str]:
    return estimate_words(told.error, 3), estimate_words(told.brier, 3)


def bars(bins: Sequence[Bin]) -> tuple[list[float], list[float]]:
    """How far the interval of each reaches down and up; nan, which is not drawn: it has none."""
    told = [(one.observed.value, one.observed.lower, one.observed.upper) for one in bins]
    ends = [
        (nan, nan) if value is None or low is None or high is None else (max(0.0, value - low), max(0.0, high - value))
        for value, low, high in told
    ]
    return [down for down, _ in ends], [up for _, up in ends]


def _diagram(fitted: Fitted) -> str:
    figure, axes = empty_plot()
    axes.plot([0, 1], [0, 1], ":", color="grey")
    for told, label, mark in ((fitted.before, "before", "s"), (fitted.after, "after, out of fold", "o")):
        axes.errorbar(
            [one.said for one in told.bins],
            [one.observed.value or 0.0 for one in told.bins],
            yerr=bars(told.bins),
            fmt=f"{mark}-",
            capsize=2,
            label=label,
        )
    axes.set(xlabel="said of a candidate", ylabel="share that is a lesion", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend(loc="upper left")
    return as_png(figure)
