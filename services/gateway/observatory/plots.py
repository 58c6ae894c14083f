"""Plots as SVG shapes: templates/observatory/parts.html writes them, observatory.css colours them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil

from services.gateway.language import decimal
from services.gateway.observatory.words import percent
from services.observatory.calibration import Bin
from services.observatory.chart import FlagChart
from services.observatory.drift import SIZABLE, Drift
from services.observatory.estimate import Estimate
from services.observatory.lesionwise import FrocPoint

WIDTH = 560.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 16.0, 14.0, 44.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """One SVG element."""

    tag: str
    attributes: dict[str, str | float]
    text: str = ""


@dataclass
class Plot:
    """A plot in user units; x and y grow right and down."""

    height: float
    width: float = WIDTH
    shapes: list[Shape] = field(default_factory=list)

    def add(self, tag: str, kind: str, text: str = "", /, **attributes: float | str) -> None:
        """One shape; kind: its CSS classes."""
        rounded = {
            name.replace("_", "-"): round(value, 1) if isinstance(value, float) else value
            for name, value in attributes.items()
        }
        self.shapes.append(Shape(tag=tag, attributes={"class": kind, **rounded}, text=text))

    def line(self, kind: str, x1: float, y1: float, x2: float, y2: float) -> None:
        """A straight line."""
        self.add("line", kind, x1=x1, y1=y1, x2=x2, y2=y2)

    def path(self, kind: str, points: Sequence[tuple[float, float]]) -> None:
        """A line through points."""
        self.add("polyline", kind, points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points))

    def text(self, kind: str, x: float, y: float, words: str, *, anchor: str = "start") -> None:
        """Words; anchor: start, middle or end."""
        self.add("text", kind, words, x=x, y=y, text_anchor=anchor)


@dataclass(frozen=True, kw_only=True)
class _Axes:
    """From 0 to `right` and from 0 to `top`, in a frame of the plot."""

    plot: Plot
    right: float
    top: float = 1.0
    bottom: float = _BOTTOM
    begin: float = _TOP

    def x(self, value: float) -> float:
        return _LEFT + min(value / self.right, 1.0) * (self.plot.width - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low = self.plot.height - self.bottom
        return low - min(value / self.top, 1.0) * (low - self.begin)

    def draw_y(self, ticks: Sequence[float], written: Callable[[float], str]) -> None:
        for tick in ticks:
            self.plot.line("grid", _LEFT, self.y(tick), self.plot.width - _RIGHT, self.y(tick))
            self.plot.text("tick", _LEFT - 6, self.y(tick) + 4, written(tick), anchor="end")

    def draw_x(self, ticks: Sequence[float], written: Callable[[float], str], name: str) -> None:
        low = self.plot.height - self.bottom
        for tick in ticks:
            self.plot.line("grid", self.x(tick), self.begin, self.x(tick), low)
            self.plot.text("tick", self.x(tick), low + 16, written(tick), anchor="middle")
        self.plot.text("axis", (_LEFT + self.plot.width - _RIGHT) / 2, low + 36, name, anchor="middle")


_QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)


def forest(rows: Sequence[tuple[str, Estimate]], overall: Estimate | None = None) -> Plot:
    """A share with its interval per row; overall: a line through all."""
    step, left = 26.0, 210.0
    plot = Plot(height=step * len(rows) + 34)
    low = step * len(rows) + 8

    def x(value: float) -> float:
        return left + value * (plot.width - left - 70)

    for tick in _QUARTERS:
        plot.line("grid", x(tick), 4, x(tick), low)
        plot.text("tick", x(tick), low + 16, percent(tick, 0), anchor="middle")
    if overall is not None and overall.value is not None:
        plot.line("overall", x(overall.value), 4, x(overall.value), low)
    for place, (name, told) in enumerate(rows):
        y = step * place + 20
        plot.text("name", left - 10, y + 4, name if len(name) <= 30 else f"{name[:29]}…", anchor="end")
        if told.value is None or told.lower is None or told.upper is None:
            plot.text("none", x(0) + 4, y + 4, "-")
            continue
        plot.line("interval", x(told.lower), y, x(told.upper), y)
        plot.add("circle", "point", cx=x(told.value), cy=y, r=4.5)
        plot.text("value", plot.width - 4, y + 4, percent(told.value), anchor="end")
    return plot


def froc_curve(points: Sequence[FrocPoint], x_name: str) -> Plot:
    """Lesion sensitivity over false lesions per study."""
    plot = Plot(height=300)
    most = max((point.false_per_study.value or 0.0 for point in points), default=0.0)
    right = next((each for each in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0) if each >= most), ceil(most))
    axes = _Axes(plot=plot, right=right)
    axes.draw_y(_QUARTERS, lambda tick: percent(tick, 0))
    axes.draw_x([right * part for part in _QUARTERS], lambda tick: decimal(tick, 2), x_name)
    places = [(axes.x(one.false_per_study.value or 0.0), axes.y(one.sensitivity.value or 0.0)) for one in points]
    for (x, _), one in zip(places, points, strict=True):
        plot.line("interval", x, axes.y(one.sensitivity.lower or 0.0), x, axes.y(one.sensitivity.upper or 0.0))
    plot.path("curve", places)
    for x, y in places:
        plot.add("circle", "point", cx=x, cy=y, r=4.0)
    return plot


def reliability(bins: Sequence[Bin], x_name: str) -> Plot:
    """Observed share over mean score; on the diagonal a score is what it says."""
    plot = Plot(height=320)
    axes = _Axes(plot=plot, right=1.0)
    axes.draw_y(_QUARTERS, lambda tick: percent(tick, 0))
    axes.draw_x(_QUARTERS, lambda tick: decimal(tick, 2), x_name)
    plot.line("overall", axes.x(0), axes.y(0), axes.x(1), axes.y(1))
    places = [(axes.x(one.score), axes.y(one.observed.value or 0.0)) for one in bins]
    for (x, _), one in zip(places, bins, strict=True):
        plot.line("interval", x, axes.y(one.observed.lower or 0.0), x, axes.y(one.observed.upper or 0.0))
    plot.path("curve", places)
    for x, y in places:
        plot.add("circle", "point", cx=x, cy=y, r=4.0)
    return plot


def flag_rate(chart: FlagChart, up: str, down: str) -> Plot:
    """Above the flag rate of each day that is told, below the sums as parts of their limits; up, down: their names."""
    plot, upper, lower = Plot(height=420), 190.0, 236.0
    count = len(chart.days)
    rates = {place: (one.flagged or 0) / one.studies for place, one in enumerate(chart.days) if one.studies}
    top = min(1.0, ceil(max([*rates.values(), chart.rate]) * 10 + 0.5) / 10)
    above = _Axes(plot=plot, right=max(1, count - 1), top=top, bottom=plot.height - upper)
    above.draw_y([0.0, top / 2, top], lambda tick: percent(tick, 0))
    plot.line("overall", _LEFT, above.y(chart.rate), plot.width - _RIGHT, above.y(chart.rate))
    plot.path("curve", [(above.x(place), above.y(rate)) for place, rate in rates.items()])
    for place, rate in rates.items():
        plot.add("circle", "point", cx=above.x(place), cy=above.y(rate), r=3.0)
    upward = {place: one.up / chart.up for place, one in enumerate(chart.days) if one.up is not None}
    downward = {place: one.down / chart.down for place, one in enumerate(chart.days) if one.down is not None}
    height = max(1.25, min(3.0, max([*upward.values(), *downward.values(), 0.0]) * 1.1))
    below = _Axes(plot=plot, right=max(1, count - 1), top=height, begin=lower)
    below.draw_y([0.0, 1.0, *([2.0, 3.0][: int(height) - 1])], lambda tick: decimal(tick, 0))
    plot.line("limit", _LEFT, below.y(1.0), plot.width - _RIGHT, below.y(1.0))
    plot.path("curve sum-up", [(below.x(place), below.y(part)) for place, part in upward.items()])
    plot.path("curve sum-down", [(below.x(place), below.y(part)) for place, part in downward.items()])
    for place, one in enumerate(chart.days):
        if one.day in (chart.rose_on, chart.fell_on):
            plot.line("alarm", below.x(place), _TOP, below.x(place), plot.height - _BOTTOM)
    for place in sorted({0, count // 2, count - 1}):
        anchor = "start" if place == 0 else "end" if place == count - 1 else "middle"
        plot.text("tick", below.x(place), plot.height - _BOTTOM + 16, f"{chart.days[place].day}", anchor=anchor)
    plot.add("line", "curve sum-up", x1=_LEFT, y1=plot.height - 10, x2=_LEFT + 24, y2=plot.height - 10)
    plot.text("tick", _LEFT + 30, plot.height - 6, up)
    plot.add("line", "curve sum-down", x1=_LEFT + 220, y1=plot.height - 10, x2=_LEFT + 244, y2=plot.height - 10)
    plot.text("tick", _LEFT + 250, plot.height - 6, down)
    return plot


def drift_bars(rows: Sequence[tuple[str, Drift]]) -> Plot:
    """The Population Stability Index of each feature; what sounds an alarm is told by its class and its sign."""
    step, left = 26.0, 190.0  # a name of French needs it
    plot = Plot(height=step * len(rows) + 34)
    low = step * len(rows) + 8
    right = min(0.6, max([0.3, *(one.psi * 1.15 for _, one in rows)]))

    def x(value: float) -> float:
        return left + min(value / right, 1.0) * (plot.width - left - 90)

    for tick in (0.0, SIZABLE, 0.25):
        plot.line("limit" if tick == SIZABLE else "grid", x(tick), 4, x(tick), low)
        plot.text("tick", x(tick), low + 16, decimal(tick, 2), anchor="middle")
    for place, (name, one) in enumerate(rows):
        y = step * place + 10
        plot.text("name", left - 10, y + 14, name, anchor="end")
        plot.add(
            "rect", "bar alarmed" if one.alarm else "bar", x=x(0), y=y, width=max(1.0, x(one.psi) - x(0)), height=16.0
        )
        plot.text("value", x(one.psi) + 6, y + 13, f"{decimal(one.psi, 2)}{' ▲' if one.alarm else ''}")
    return plot
