"""The flag rate day by day, and an alarm when it leaves what it was: a binomial CUSUM in both directions.

Page 1954; Reynolds and Stoumbos 1999 for proportions. The limits are simulated for the days as they came, and allow for
what is not known of the rate before (its sample was finite; Jones, Champ and Rigdon 2004) and for days that differ more
than chance lets them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

import numpy as np

from services.observatory.estimate import SEED
from services.observatory.history import DAY_S, Floats, History, Ints

ODDS_RATIO = 1.5
"""The change that the chart is made to find: of the odds of a flag, up or down."""

LEAST_REFERENCE = 200
"""Analysed studies that the rate before must come from."""

LEAST_LIMIT = np.log(ODDS_RATIO) / 2
"""What one flag adds where hardly any is expected is twice as much: no limit is so low that it is passed by nothing."""

_HISTORIES = 10_000


class NoChart(StrEnum):
    """Why there is none. short_reference: fewer studies were analysed before the window than LEAST_REFERENCE."""

    NOTHING_ANALYSED = "nothing_analysed"
    SHORT_REFERENCE = "short_reference"


@dataclass(frozen=True, kw_only=True, slots=True)
class Day:
    """One day's analysed and flagged studies, and the two sums after it.

    None: fewer than the minimum; of the sums, since the window begins.
    """

    day: date
    studies: int | None
    flagged: int | None
    up: float | None
    down: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FlagChart:
    """rate: of the reference, from so many studies. spread: intra-class correlation of its days; 0: mere chance.

    up, down: the limits. rose_on, fell_on: the first day on which the sum of that direction passed its limit; a rate
    that fell may have risen since.
    """

    rate: float
    reference_studies: int
    spread: float
    days: tuple[Day, ...]
    up: float
    down: float
    rose_on: date | None = None
    fell_on: date | None = None

    @property
    def alarm_since(self) -> date | None:
        """The first day on which a sum passed its limit."""
        return min((day for day in (self.rose_on, self.fell_on) if day is not None), default=None)


def flag_chart(history: History, reference: History, minimum: int, alpha: float) -> FlagChart | NoChart:
    """minimum: studies below which a day is not told. alpha: of any false alarm in the window."""
    _, before, flagged_before = _by_day(reference)
    n, k = int(before.sum()), int(flagged_before.sum())
    days, sizes, flagged = _by_day(history)
    if not days:
        return NoChart.NOTHING_ANALYSED
    if n < LEAST_REFERENCE:
        return NoChart.SHORT_REFERENCE
    # that none was flagged before, or all, does not say that none ever is
    expected = (k + 0.5) / (n + 1)
    rate, spread = k / n, _spread(before, flagged_before)
    draw = np.random.default_rng(SEED)
    # as if the reference had fewer studies: those of one day tell less than as many of different days
    effective = n / (1 + (float((before**2).sum()) / n - 1) * spread)
    rates = draw.beta(rate * effective + 0.5, (1 - rate) * effective + 0.5, (_HISTORIES, 1))
    daily = np.broadcast_to(rates, (_HISTORIES, len(days)))
    if spread > 0:
        daily = draw.beta(daily * (1 / spread - 1), (1 - daily) * (1 / spread - 1))
    simulated = draw.binomial(sizes, daily)
    limits, sums = [], []
    for odds in (ODDS_RATIO, 1 / ODDS_RATIO):
        peaks = _sums(simulated, sizes, expected, odds).max(axis=1)
        limits.append(max(LEAST_LIMIT, float(np.quantile(peaks, 1 - alpha / 2))))
        sums.append(_sums(flagged[None, :], sizes, expected, odds)[0])
    passed = [next(iter(np.flatnonzero(each > limit)), None) for each, limit in zip(sums, limits, strict=True)]
    rose_on, fell_on = (None if first is None else days[first] for first in passed)
    return FlagChart(
        rate=rate,
        reference_studies=n,
        spread=spread,
        days=_told(days, sizes, flagged, sums, minimum),
        up=limits[0],
        down=limits[1],
        rose_on=rose_on,
        fell_on=fell_on,
    )


def _told(days: Sequence[date], sizes: Ints, flagged: Ints, sums: Sequence[Floats], minimum: int) -> tuple[Day, ...]:
    enough, so_far = sizes >= minimum, np.cumsum(sizes) >= minimum
    return tuple(
        Day(
            day=day,
            studies=int(sizes[place]) if enough[place] else None,
            flagged=int(flagged[place]) if enough[place] else None,
            up=float(sums[0][place]) if so_far[place] else None,
            down=float(sums[1][place]) if so_far[place] else None,
        )
        for place, day in enumerate(days)
    )


def _by_day(history: History) -> tuple[list[date], Ints, Ints]:
    """Days (UTC) with analysed studies, how many, and how many of them flagged."""
    looked = history.where(history.looked)
    days, place = np.unique((looked.time // DAY_S).astype(np.int64), return_inverse=True)
    epoch = datetime(1970, 1, 1, tzinfo=UTC).date()
    sizes = np.bincount(place, minlength=len(days))
    flagged = np.bincount(place[looked.flagged], minlength=len(days))
    return [epoch + timedelta(days=int(each)) for each in days], sizes, flagged


def _sums(flagged: Ints, sizes: Ints, rate: float, odds_ratio: float) -> Floats:
    """The CUSUM of log-likelihood ratios after each day, for each row of counts [history, day]."""
    odds = rate / (1 - rate) * odds_ratio
    changed = odds / (1 + odds)
    steps = flagged * np.log(changed / rate) + (sizes - flagged) * np.log((1 - changed) / (1 - rate))
    total = np.zeros(len(flagged))
    found = np.empty(steps.shape)
    for day in range(steps.shape[1]):
        total = np.maximum(0.0, total + steps[:, day])
        found[:, day] = total
    return found


def _spread(sizes: Ints, flagged: Ints) -> float:
    """Intra-class correlation of the days by moments (Fleiss 1981, 13.2); 0 where they differ by chance alone."""
    days, n = len(sizes), int(sizes.sum())
    if days < 2 or n <= days:
        return 0.0
    part = flagged / sizes
    rate = flagged.sum() / n
    between = float((sizes * (part - rate) ** 2).sum()) / (days - 1)
    within = float((sizes * part * (1 - part)).sum()) / (n - days)
    usual = (n - float((sizes**2).sum()) / n) / (days - 1)
    total = between + (usual - 1) * within
    return min(0.5, max(0.0, (between - within) / total)) if total > 0 else 0.0
