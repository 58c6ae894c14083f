"""From the records of evaluate.py to docs/evaluation.json, the thresholds in metadata.json, and the figures.

    python summarise.py --phantoms test.json --tuning tuning.json --real lung1.json --real lung2.json \
        --negative abdomen.json --training base.json --training final.json

Thresholds come from the tuning phantoms, all reported figures from the test phantoms and from real cases that the
judged weights never saw.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import figures
import matplotlib
import numpy as np
from bundle import ROOT, metadata

matplotlib.use("Agg")
import matplotlib.pyplot as plt

WATTS_PER_CORE = 10.0  # assumed: a server processor of 120 to 280 W with 16 to 64 cores, under load
DOCS = ROOT / "docs"


def read(paths: list[Path]) -> list[dict]:
    """The studies of several record files."""
    return [study for path in paths for study in json.loads(path.read_text())]


def evaluation(
    test: list[dict], real: list[dict], negative: list[dict], training: list[dict], thresholds: dict
) -> dict:
    """Everything that the model card tells."""
    detect = thresholds["detect"]
    return {
        "thresholds": thresholds,
        "phantoms": {
            "studies": len(test),
            "without_lesion": sum(not s["lesions"] for s in test),
            "by_size": figures.by_size(test, detect),
            "by_thickness": figures.by_thickness(test, detect),
            "false_per_study": figures.false_per_study(test, detect),
            "urgent": figures.study_figures(test, thresholds["urgent"]),
            "elevated": figures.study_figures(test, thresholds["elevated"]),
            "detect": figures.study_figures(test, detect),
            "reliability": figures.reliability(test),
            "froc": figures.froc(test),
        },
        "real_left_out": [_real(study, detect) for study in real],
        "negative": [_real(study, detect) for study in negative],
        "training": energy(training),
    }


def _real(study: dict, detect: float) -> dict:
    lesions = [
        {k: lesion[k] for k in ("diameter_mm", "volume_ml", "score", "dice")} | {"found": lesion["score"] >= detect}
        for lesion in study["lesions"]
    ]
    return {
        "study": study["study"],
        "lesions": lesions,
        "false_lesions": figures.false_lesions(study, detect),
        "study_score": figures.study_score(study),
        "seconds": study["seconds"],
    }


def energy(training: list[dict]) -> dict:
    """Processor time of all runs that led to the shipped weights, and the energy it is estimated to have taken."""
    core_hours = sum(run["cpu_seconds"] for run in training) / 3600
    return {
        "runs": [{k: run[k] for k in ("stage", "phantoms", "real", "cpu_seconds")} for run in training],
        "core_hours": round(core_hours, 2),
        "assumed_watts_per_core": WATTS_PER_CORE,
        "estimated_kwh": round(core_hours * WATTS_PER_CORE / 1000, 4),
    }


def draw_losses(training: list[dict]) -> None:
    """docs/loss_curves.png."""
    curves = [
        (f"{run['stage']}: {stage}", curve) for run in training for stage, curve in run["curves"].items() if curve
    ]
    fig, axes = plt.subplots(1, len(curves), figsize=(3.6 * len(curves), 3), squeeze=False)
    for axis, (name, curve) in zip(axes[0], curves, strict=True):
        steps = [point["step"] for point in curve]
        axis.plot(steps, [point["dice"] for point in curve], label="1 - soft Dice")
        axis.plot(steps, [point["focal"] for point in curve], label="focal")
        axis.set(title=name, xlabel="step", ylim=(0, 1.05))
        axis.legend(fontsize=7)
    _save(fig, "loss_curves.png")


def draw_evaluation(result: dict) -> None:
    """docs/evaluation.png."""
    phantoms = result["phantoms"]
    fig, axes = plt.subplots(1, 3, figsize=(11, 3.4))
    rows = phantoms["froc"]
    axes[0].plot([r["false_per_study"] for r in rows], [r["sensitivity"] for r in rows])
    axes[0].set(xlabel="false lesions per study", ylabel="sensitivity, 6 to 30 mm", ylim=(0, 1), title="phantoms: FROC")
    bands = phantoms["by_size"]
    values = np.array([[b["share"] or 0, *b["ci95"]] for b in bands.values()])
    error = np.clip([values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]], 0, None)
    axes[1].bar(list(bands), values[:, 0], yerr=error, capsize=4, color="tab:blue")
    axes[1].set(xlabel="lesion diameter, mm", ylabel="sensitivity", ylim=(0, 1.02), title="phantoms: by size")
    rows = phantoms["reliability"]
    axes[2].plot([0.5, 1], [0.5, 1], "k:", lw=1)
    axes[2].plot([r["mean_score"] for r in rows], [r["share"] for r in rows], "o-")
    axes[2].set(
        xlabel="candidate score",
        ylabel="share that is a lesion",
        ylim=(0, 1),
        title="phantoms: reliability of the score",
    )
    _save(fig, "evaluation.png")


def _save(fig, name: str) -> None:
    fig.tight_layout()
    fig.savefig(DOCS / name, dpi=80)
    plt.close(fig)


def write_metadata(result: dict) -> None:
    """Thresholds, operating point and metrics into configs/metadata.json."""
    data = metadata()
    phantoms = result["phantoms"]
    sizes = phantoms["by_size"]
    data["triage"]["thresholds"] = result["thresholds"]
    data["triage"]["operating_point"] = {
        "measured_on": f"{phantoms['studies']} held-out phantoms (of 300), {phantoms['without_lesion']} without lesion",
        "lesion_sensitivity_at_detect": {band: row["share"] for band, row in sizes.items()},
        "false_lesions_per_study_at_detect": phantoms["false_per_study"]["mean"],
        "urgent": {k: v["share"] for k, v in phantoms["urgent"].items()},
        "elevated": {k: v["share"] for k, v in phantoms["elevated"].items()},
    }
    data["eval_metrics"] = {f"phantom_median_dice_{band}_mm": row["median_dice"] for band, row in sizes.items()}
    data["triage"]["sensitivity_statement"] = (
        f"On {phantoms['studies']} synthetic phantoms, not on patients: found "
        + ", ".join(f"{100 * row['share']:.0f} % of lesions of {band} mm" for band, row in sizes.items() if row["of"])
        + f", with {phantoms['false_per_study']['mean']:.2f} false lesions per study. "
        "Demonstration model, not a medical device."
    )
    (ROOT / "configs" / "metadata.json").write_text(json.dumps(data, indent=4) + "\n")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phantoms", type=Path, action="append", required=True)
    parser.add_argument("--tuning", type=Path, action="append", required=True)
    parser.add_argument("--real", type=Path, action="append", default=[])
    parser.add_argument("--negative", type=Path, action="append", default=[])
    parser.add_argument("--training", type=Path, action="append", default=[])
    args = parser.parse_args()
    thresholds = figures.choose_thresholds(read(args.tuning))
    training = [json.loads(path.read_text()) for path in args.training]
    result = evaluation(read(args.phantoms), read(args.real), read(args.negative), training, thresholds)
    DOCS.mkdir(exist_ok=True)
    result["phantoms"]["tuned_on_themselves"] = set(args.tuning) == set(args.phantoms)
    (DOCS / "evaluation.json").write_text(json.dumps(result, indent=1) + "\n")
    if training:
        draw_losses(training)
    draw_evaluation(result)
    write_metadata(result)


if __name__ == "__main__":
    main()
