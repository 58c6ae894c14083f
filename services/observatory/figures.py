"""All that is told of one model version in one window."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np

from services.observatory.agreement import Measure, measures
from services.observatory.calibration import Calibration, calibration
from services.observatory.chart import FlagChart, NoChart, flag_chart
from services.observatory.drift import Drift, drifts
from services.observatory.estimate import Estimate, mean, quantile
from services.observatory.groups import Disparity, Grouping, disparities, grouping
from services.observatory.history import Attribute, History
from services.observatory.lesionwise import FrocPoint, froc, unmarked

ALPHA = 0.01
"""The rate of windows with any false alarm of one kind, where nothing has changed."""

JOULES_PER_KWH = 3.6e6


class Alarm(StrEnum):
    """The kinds of alarms."""

    FLAG_RATE = "flag_rate"
    DRIFT = "drift"
    DISPARITY = "disparity"


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """Whose figures, and of when: until is exclusive. The reference is what came before."""

    model: str
    model_version: str
    since: datetime
    until: datetime
    reference_since: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """Seconds. to_flag: from the last image to the flag. waited: from queued until a worker began."""

    to_flag_p50: Estimate
    to_flag_p95: Estimate
    waited_p50: Estimate
    waited_p95: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Consumption:
    """Energy per analysed study, of those of which it is told; measured: of how many it was, not estimated."""

    joules: Estimate
    total_joules: float
    studies: int
    measured: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """studies: results, one per study. reasons: why not analysed, by code. disputed: readers disagree.

    unmarked: readers say that a lesion was missed, and mark none. What has a default is in none that an older process
    has kept.
    """

    scope: Scope
    minimum: int
    studies: int
    reference_studies: int
    reasons: dict[str, int]
    disputed: int
    recalled: int
    missed_lesions: int
    calibrated: bool
    measures: dict[Measure, Estimate]
    times: Times
    froc: tuple[FrocPoint, ...]
    calibration: Calibration
    groupings: tuple[Grouping, ...]
    disparities: tuple[Disparity, ...]
    flag_chart: FlagChart | None
    drifts: tuple[Drift, ...]
    consumption: Consumption
    unmarked: int = 0
    no_flag_chart: NoChart | None = None

    @property
    def alarms(self) -> frozenset[Alarm]:
        """Those that sound."""
        sounding = {
            Alarm.FLAG_RATE: self.flag_chart is not None and self.flag_chart.alarm_since is not None,
            Alarm.DRIFT: any(one.alarm for one in self.drifts),
            Alarm.DISPARITY: any(one.alarm for one in self.disparities),
        }
        return frozenset(alarm for alarm, sounds in sounding.items() if sounds)


def observe(history: History, reference: History, scope: Scope, *, minimum: int, alpha: float = ALPHA) -> Figures:
    """The figures of a window against its reference. minimum: studies below which a figure is not told."""
    looked = history.where(history.looked)
    chart = flag_chart(history, reference, minimum, alpha)
    return Figures(
        scope=scope,
        minimum=minimum,
        studies=len(history),
        reference_studies=len(reference),
        reasons=dict(Counter(str(each) for each in history.reason[~history.looked]).most_common()),
        disputed=int(history.disputed.sum()),
        recalled=int(history.recalled.sum()),
        missed_lesions=int(history.missed.sum()),
        calibrated=bool(len(looked)) and bool(looked.calibrated.all()),
        measures=measures(history, minimum),
        times=_times(history, minimum),
        froc=froc(history, minimum),
        calibration=calibration(history, minimum),
        groupings=tuple(grouping(history, attribute, minimum) for attribute in Attribute),
        disparities=disparities(history, minimum, alpha),
        flag_chart=chart if isinstance(chart, FlagChart) else None,
        drifts=drifts(history, reference, alpha),
        consumption=_consumption(looked, minimum),
        unmarked=int(unmarked(history).sum()),
        no_flag_chart=chart if isinstance(chart, NoChart) else None,
    )


def _times(history: History, minimum: int) -> Times:
    to_flag, waited = (each[~np.isnan(each)] for each in (history.to_flag_s, history.waited_s))
    return Times(
        to_flag_p50=quantile(to_flag, 0.5, minimum),
        to_flag_p95=quantile(to_flag, 0.95, minimum),
        waited_p50=quantile(waited, 0.5, minimum),
        waited_p95=quantile(waited, 0.95, minimum),
    )


def _consumption(looked: History, minimum: int) -> Consumption:
    told = ~np.isnan(looked.energy_j)
    joules = looked.energy_j[told]
    return Consumption(
        joules=mean(joules, minimum),
        total_joules=float(joules.sum()),
        studies=len(joules),
        measured=int(looked.energy_measured[told].sum()),
    )


def co2_g(joules: float, grid_g_per_kwh: float) -> float:
    """Grams of CO2 equivalent of so much energy from the grid."""
    return joules / JOULES_PER_KWH * grid_g_per_kwh
