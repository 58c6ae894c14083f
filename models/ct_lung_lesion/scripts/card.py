"""Render docs/evaluation.json into the tables of the model card, between its markers.

python card.py            rewrites docs/README.md
python card.py --check    exits with 1 if the card is not what evaluation.json says
"""

from __future__ import annotations

import argparse
import json
import re
import sys

from bundle import ROOT

CARD = ROOT / "docs" / "README.md"
TARGETS = {
    "6-10": "sensitivity at least 0.60",
    "10-30": "sensitivity at least 0.90",
    "30-120": "median Dice at least 0.70",
}


def ci(pair) -> str:
    """A confidence interval in words."""
    return f"{pair[0]:.2f} to {pair[1]:.2f}" if pair else ""


def table(head: list[str], rows: list[list]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def number(value) -> str:
    """Two digits, or "none"."""
    return "none" if value is None else f"{value:.2f}"


def sample(result: dict) -> str:
    """How many phantoms were tested, against the target."""
    phantoms = result["phantoms"]
    n, target = phantoms["studies"], 300
    said = (
        "the target is reached" if n >= target else f"the target of {target} is not reached, so the intervals are wide"
    )
    same = phantoms["tuned_on_themselves"]
    tuned = "on these same phantoms, so the figures are optimistic" if same else "on others"
    well = phantoms["without_lesion"]
    return f"{n} test phantoms, {well} of them without lesion: {said}. Thresholds were chosen {tuned}."


def by_size(result: dict) -> str:
    """Lesions by diameter."""
    rows = [
        [
            band,
            row["of"],
            number(row["share"]),
            ci(row["ci95"]),
            number(row["median_dice"]),
            ci(row["median_dice_ci95"]),
            TARGETS.get(band, "none set"),
        ]
        for band, row in result["phantoms"]["by_size"].items()
    ]
    return table(
        ["diameter, mm", "lesions", "sensitivity", "95 % CI", "median Dice (missed count as 0)", "95 % CI", "target"],
        rows,
    )


def by_thickness(result: dict) -> str:
    """Lesions by slice thickness."""
    rows = [
        [
            band,
            row["studies"],
            row["of"],
            number(row["share"]),
            ci(row["ci95"]),
            number(row["median_dice"]),
            number(row["false_per_study"]),
        ]
        for band, row in result["phantoms"]["by_thickness"].items()
    ]
    return table(
        [
            "slice thickness, mm",
            "studies",
            "lesions of 6 to 30 mm",
            "sensitivity",
            "95 % CI",
            "median Dice",
            "false lesions per study",
        ],
        rows,
    )


def studies(result: dict) -> str:
    """Whole studies at each threshold."""
    phantoms, rows = result["phantoms"], []
    for name in ("detect", "elevated", "urgent"):
        row = phantoms[name]
        cells = [f"{row[k]['share']:.2f} ({ci(row[k]['ci95'])})" for k in ("sensitivity", "specificity", "flag_rate")]
        rows.append([name, f"{result['thresholds'][name]:.3f}", *cells])
    false = phantoms["false_per_study"]
    return table(
        ["threshold on the study score", "value", "sensitivity (95 % CI)", "specificity", "flag rate"], rows
    ) + (
        f"\n\nFalse lesions per study at `detect`: mean {false['mean']:.2f} (95 % CI {ci(false['ci95'])}); "
        f"{100 * false['at_most_two']['share']:.0f} % of the studies have at most two; "
        f"the most in one study is {false['most']}. "
        f"`equivocal_low` is {result['thresholds']['equivocal_low']:.3f}."
    )


def real(result: dict) -> str:
    """Real tumours that the weights never saw, and the study without one."""
    rows = [
        [
            study["study"],
            lesion["volume_ml"],
            lesion["diameter_mm"],
            "yes" if lesion["found"] else "no",
            f"{lesion['score']:.3f}",
            number(lesion["dice"]),
            study["false_lesions"],
        ]
        for study in result["real_left_out"]
        for lesion in study["lesions"]
    ]
    text = table(["case", "tumour, mL", "diameter, mm", "found", "score", "Dice", "false lesions"], rows)
    for study in result["negative"]:
        count, score = study["false_lesions"], study["study_score"]
        text += f"\n\nAbdomen CT without lung lesion: {count} false lesions, study score {score:.3f}."
    return text


def reliability(result: dict) -> str:
    """True share of the candidates by score."""
    rows = [
        [f"{r['low']:.2f} to {r['high']:.2f}", r["of"], number(r["share"]), ci(r["ci95"])]
        for r in result["phantoms"]["reliability"]
    ]
    return table(["candidate score", "candidates", "share that is a lesion", "95 % CI"], rows)


def energy(result: dict) -> str:
    """What the training took."""
    spent = result["training"]
    if not spent["runs"]:
        return "Not recorded."
    return (
        f"Training took {spent['core_hours']:.2f} core hours of processor time, all runs together. At an assumed "
        f"{spent['assumed_watts_per_core']:g} W per busy core that is an estimated {spent['estimated_kwh']:.3f} kWh "
        "(estimated: the machine had no energy counter; making the phantoms is not counted)."
    )


def rendered(text: str, result: dict) -> str:
    """The card with every table between its markers made anew."""
    makers = {f.__name__: f for f in (sample, by_size, by_thickness, studies, real, reliability, energy)}
    for name, make in makers.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        body = make(result) + "\n"
        text = re.sub(pattern, lambda m, body=body: m[1] + body + m[2], text, flags=re.DOTALL)
    return text


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    old = CARD.read_text()
    new = rendered(old, json.loads((ROOT / "docs" / "evaluation.json").read_text()))
    if args.check:
        sys.exit(0 if old == new else 1)
    CARD.write_text(new)


if __name__ == "__main__":
    main()
