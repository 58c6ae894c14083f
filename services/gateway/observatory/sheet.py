"""The figures as a sheet: one line per figure and group, the same columns throughout."""

import csv
from collections.abc import Iterator
from io import StringIO

from services.observatory.estimate import Estimate
from services.observatory.figures import Figures

COLUMNS = (
    "model",
    "model_version",
    "since",
    "until",
    "attribute",
    "group",
    "figure",
    "value",
    "lower_95",
    "upper_95",
    "count",
    "n",
    "p_adjusted",
    "alarm",
)
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def csv_of(figures: Figures | None) -> str:
    """RFC 4180, with a header line; nothing but that of no figures. Empty values: fewer than the minimum."""
    out = StringIO()
    sheet = csv.DictWriter(out, COLUMNS, lineterminator="\r\n")
    sheet.writeheader()
    if figures is not None:
        scope = figures.scope
        same = {
            "model": scope.model,
            "model_version": scope.model_version,
            "since": scope.since.isoformat(),
            "until": scope.until.isoformat(),
        }
        for line in _lines(figures):
            sheet.writerow({name: _cell(value) for name, value in {**same, **line}.items()})
    return out.getvalue()


def _lines(figures: Figures) -> Iterator[dict[str, object]]:
    yield {"figure": "studies", "value": figures.studies}
    for measure, told in figures.measures.items():
        yield {"figure": measure, **_columns(told)}
    times = figures.times
    for name in ("to_flag_p50", "to_flag_p95", "waited_p50", "waited_p95"):
        yield {"figure": f"{name}_s", **_columns(getattr(times, name))}
    yield {"figure": "energy_j", **_columns(figures.consumption.joules)}
    yield {"figure": "brier", **_columns(figures.calibration.brier)}
    yield {"figure": "calibration_error", **_columns(figures.calibration.error)}
    for each in figures.calibration.bins:
        yield {"figure": "reliability", "attribute": "mean_score", "group": each.score, **_columns(each.observed)}
    for point in figures.froc:
        where = {"attribute": "threshold", "group": point.threshold}
        yield {"figure": "froc_sensitivity", **where, **_columns(point.sensitivity)}
        yield {"figure": "froc_false_per_study", **where, **_columns(point.false_per_study)}
    for grouping in figures.groupings:
        for group in grouping.groups:
            for measure, told in group.measures.items():
                where = {"attribute": group.attribute, "group": group.label}
                yield {"figure": measure, **where, **_columns(told)}
    yield from _tests(figures)


def _tests(figures: Figures) -> Iterator[dict[str, object]]:
    for one in figures.disparities:
        where = {"attribute": one.attribute, "group": one.label}
        test = {"p_adjusted": one.p_adjusted, "alarm": int(one.alarm)}
        yield {"figure": f"disparity_{one.measure}", **where, **_columns(one.group), **test}
    for drift in figures.drifts:
        test = {"p_adjusted": drift.p_adjusted, "alarm": int(drift.alarm)}
        where = {"attribute": "feature", "group": drift.feature}
        yield {"figure": "drift_psi", **where, "value": drift.psi, "n": drift.n, **test}
    if figures.flag_chart is not None:
        for day in figures.flag_chart.days:
            where = {"attribute": "day", "group": day.day.isoformat()}
            yield {"figure": "flagged_by_day", **where, "count": day.flagged, "n": day.studies}


def _columns(told: Estimate) -> dict[str, object]:
    return {
        "value": told.value,
        "lower_95": told.lower,
        "upper_95": told.upper,
        "count": told.count,
        "n": told.n,
    }


def _cell(value: object) -> object:
    """Names of scanners come from outside: a spreadsheet must not take one for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value
