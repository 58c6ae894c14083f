"""A figure with its confidence interval and what it was counted from; nothing where too few were counted."""

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy  # its `stats` takes a second to load: it does so when it is first asked for something

LEVEL = 0.95
SEED = 20_260
DRAWS = 4000


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """value and its 95% interval, from `count` of `n`. All None: fewer than the minimum group size.

    count is None where the figure is no share.
    """

    value: float | None = None
    lower: float | None = None
    upper: float | None = None
    count: int | None = None
    n: int | None = None


HIDDEN = Estimate()


def share(count: int, n: int, minimum: int) -> Estimate:
    """A binomial share with Wilson's interval (Wilson 1927; Brown, Cai and DasGupta 2001)."""
    count, n = int(count), int(n)
    if n < max(minimum, 1):
        return HIDDEN
    # not by scipy.stats.binomtest, which searches for a p-value first: a page has hundreds of shares
    low, high = _wilson(count / n, n)
    return Estimate(value=count / n, lower=low, upper=high, count=count, n=n)


def clustered_share(counts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], minimum: int) -> Estimate:
    """A share of things that come in clusters (lesions in studies): Wilson's interval on the effective number.

    counts, sizes: per cluster. The design effect is that of the ratio estimator (Rao and Scott 1992).
    """
    count, n, clusters = int(counts.sum()), int(sizes.sum()), int((sizes > 0).sum())
    if clusters < max(minimum, 2):
        return HIDDEN
    value = count / n
    variance = clusters / (clusters - 1) * float(((counts - value * sizes) ** 2).sum()) / n**2
    binomial = value * (1 - value) / n
    effect = max(1.0, variance / binomial) if binomial else 1.0
    low, high = _wilson(value, n / effect)
    return Estimate(value=value, lower=low, upper=high, count=count, n=n)


def _wilson(value: float, n: float) -> tuple[float, float]:
    """Wilson's interval (Newcombe 1998, method 3) for an effective number, which need not be whole."""
    z = float(scipy.special.ndtri((1 + LEVEL) / 2))
    whole = 2 * (n + z**2)
    centre = (2 * n * value + z**2) / whole
    half = z / whole * sqrt(4 * n * value * (1 - value) + z**2)
    return 0.0 if value == 0 else centre - half, 1.0 if value == 1 else centre + half


def mean(values: npt.NDArray[np.float64], minimum: int) -> Estimate:
    """A mean with Student's interval."""
    n = len(values)
    if n < max(minimum, 2):
        return HIDDEN
    value, half = float(values.mean()), float(scipy.stats.t.ppf((1 + LEVEL) / 2, n - 1) * scipy.stats.sem(values))
    return Estimate(value=value, lower=value - half, upper=value + half, n=n)


def quantile(values: npt.NDArray[np.float64], part: float, minimum: int) -> Estimate:
    """A quantile with its interval from order statistics (Conover 1999, 3.2): of any distribution."""
    if len(values) < max(minimum, 1):
        return HIDDEN
    value = float(np.quantile(values, part, method="inverted_cdf"))
    interval: Any = scipy.stats.quantile_test(values, q=value, p=part).confidence_interval(LEVEL)
    low, high = float(interval.low), float(interval.high)
    return Estimate(
        value=value,
        lower=None if np.isnan(low) else low,
        upper=None if np.isnan(high) else high,
        n=len(values),
    )
