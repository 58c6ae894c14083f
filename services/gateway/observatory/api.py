"""The observatory as JSON."""

from datetime import date, datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from services.gateway.desk import TheDesk
from services.gateway.observatory.choice import TheChoice
from services.gateway.observatory.pages import TheLately, observers
from services.observatory.agreement import Measure
from services.observatory.chart import NoChart
from services.observatory.drift import Feature
from services.observatory.figures import Alarm, Figures, co2_g
from services.observatory.history import Attribute

router = APIRouter(prefix="/api", dependencies=[observers])


class _Schema(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class EstimateOut(_Schema):
    """A figure with its 95% interval; all null: counted from fewer studies than the minimum."""

    value: float | None
    lower: float | None
    upper: float | None
    count: int | None = Field(description="Of a share: how many count.")
    n: int | None = Field(description="Of how many.")


class ScopeOut(_Schema):
    """Whose figures, and of when."""

    model: str
    model_version: str
    since: datetime
    until: datetime = Field(description="Exclusive.")
    reference_since: datetime = Field(description="The reference ends where the window begins.")


class TimesOut(_Schema):
    """Seconds, as quantiles."""

    to_flag_p50: EstimateOut
    to_flag_p95: EstimateOut
    waited_p50: EstimateOut
    waited_p95: EstimateOut


class FrocOut(_Schema):
    """One operating point."""

    threshold: float
    sensitivity: EstimateOut
    false_per_study: EstimateOut


class BinOut(_Schema):
    """One point of the reliability diagram."""

    score: float = Field(description="Mean score of its studies.")
    observed: EstimateOut


class CalibrationOut(_Schema):
    """How the score agrees with what readers answered."""

    bins: list[BinOut]
    error: EstimateOut = Field(description="Expected calibration error, over bins of equal counts.")
    chance: float | None = Field(description="What that error would be of a perfect score, in so many studies.")
    brier: EstimateOut


class GroupOut(_Schema):
    """One group of studies."""

    label: str = Field(description="Empty: not told.")
    measures: dict[Measure, EstimateOut]


class GroupingOut(_Schema):
    """The groups by one attribute."""

    attribute: Attribute
    groups: list[GroupOut]
    small: int = Field(description="How many groups are smaller than the minimum.")


class DisparityOut(_Schema):
    """A group against all other studies."""

    attribute: Attribute
    label: str
    measure: Measure
    group: EstimateOut
    others: EstimateOut
    p: float = Field(description="Fisher's exact test.")
    p_adjusted: float = Field(description="By Holm, over all comparisons of this answer.")
    alarm: bool


class DayOut(_Schema):
    """One day of the flag rate's chart; null: counted in fewer studies than the minimum."""

    day: date
    studies: int | None
    flagged: int | None
    up: float | None = Field(description="After this day, of all studies since the window begins.")
    down: float | None


class FlagChartOut(_Schema):
    """A binomial CUSUM in both directions."""

    rate: float = Field(description="Of the reference.")
    reference_studies: int
    spread: float = Field(description="Intra-class correlation of the reference's days.")
    days: list[DayOut]
    up: float = Field(description="Limit of the sum upwards.")
    down: float = Field(description="Limit of the sum downwards.")
    alarm_since: date | None = Field(description="The first day on which a sum passed its limit.")
    rose_on: date | None = Field(description="The first day on which the sum upwards passed its limit.")
    fell_on: date | None = Field(description="The same of the sum downwards.")


class DriftOut(_Schema):
    """One feature of inputs or outputs against the reference."""

    feature: Feature
    n: int
    reference_n: int
    psi: float
    distance: float | None = Field(description="Of Kolmogorov and Smirnov; null: the feature has no order.")
    p: float
    p_adjusted: float
    alarm: bool


class ConsumptionOut(_Schema):
    """Energy of the analyses."""

    joules: EstimateOut = Field(description="Per analysed study.")
    total_joules: float
    studies: int
    measured: int = Field(description="How many were measured; the others are estimated.")
    co2_g: float | None = Field(None, description="Of all of them, by VIGIE_GRID_G_PER_KWH.")


class FiguresOut(_Schema):
    """All figures of one model version in one window; docs/observatory.md says what each means."""

    scope: ScopeOut
    minimum: int = Field(description="No figure is told that was counted in fewer studies.")
    studies: int
    reference_studies: int
    reasons: dict[str, int] = Field(description="Why studies were not analysed, by code.")
    disputed: int
    recalled: int
    missed_lesions: int
    unmarked: int = Field(
        description="Studies of which readers say that a lesion was missed, and mark none: left out of `froc`."
    )
    calibrated: bool
    measures: dict[Measure, EstimateOut]
    times: TimesOut
    froc: list[FrocOut]
    calibration: CalibrationOut
    groupings: list[GroupingOut]
    disparities: list[DisparityOut]
    flag_chart: FlagChartOut | None
    no_flag_chart: NoChart | None = Field(description="Why there is no chart of the flag rate.")
    drifts: list[DriftOut]
    consumption: ConsumptionOut
    alarms: list[Alarm]


class ObservatoryOut(_Schema):
    """figures: null where no model answered in the window."""

    models: list[dict[str, Any]] = Field(description="model, model_version and results of those that answered.")
    out_of_scope: dict[str, int] = Field(description="Studies that no rule claims, by reason.")
    figures: FiguresOut | None


@router.get(
    "/observatory",
    tags=["observatory"],
    summary="How well a model version does, and for whom",
    response_model=ObservatoryOut,
)
def get_observatory(desk: TheDesk, choice: TheChoice, lately: TheLately) -> ObservatoryOut:
    """Figures with intervals, by group, with tests and alarms. No study is named."""
    figures = None
    if choice.model:
        figures = lately.look(choice.window, choice.model, choice.model_version, now=desk.clock())
    return ObservatoryOut(
        models=[{"model": name, "model_version": version, "results": n} for name, version, n in choice.models],
        out_of_scope=desk.store.observations.out_of_scope(choice.window.span),
        figures=_out(figures, desk.settings.grid_g_per_kwh) if figures else None,
    )


def _out(figures: Figures, grid_g_per_kwh: float) -> FiguresOut:
    out = FiguresOut.model_validate(figures)
    out.alarms.sort()
    out.consumption.co2_g = co2_g(figures.consumption.total_joules, grid_g_per_kwh)
    return out
