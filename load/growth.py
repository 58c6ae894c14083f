"""Whether a process's memory grows: the slope of its lowest values, with an interval (Theil 1950, Sen 1968)."""

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import theilslopes

WARM_UP = 1 / 3
"""The first part of a run is not counted: caches fill."""

ALLOWED_MB_PER_H = 4.0
"""A slope of which the interval reaches below this is none: 100 MB in a day would take a month to be missed."""

_WINDOW_S = 60.0
_CONFIDENCE = 0.95
_FEWEST = 8


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Of one process: memory at the beginning and at the end (MB), slope with its 95 % interval (MB/h).

    slope: None where the run was too short to tell.
    """

    first_mb: float
    last_mb: float
    slope: tuple[float, float, float] | None

    @property
    def grows(self) -> bool:
        """Whether the whole interval is above what is allowed."""
        return self.slope is not None and self.slope[1] > ALLOWED_MB_PER_H


def growth(samples: Sequence[tuple[float, float]]) -> Growth:
    """Of (time in s, memory in MB). Of each minute the lowest counts: what an analysis holds meanwhile is no growth."""
    lows = _lows(samples)
    settled = lows[int(len(lows) * WARM_UP) :]
    slope = None
    if len(settled) >= _FEWEST:
        times, values = zip(*settled, strict=True)
        found = theilslopes(values, [each / 3600 for each in times], alpha=_CONFIDENCE)
        slope = float(found.slope), float(found.low_slope), float(found.high_slope)
    return Growth(first_mb=settled[0][1], last_mb=settled[-1][1], slope=slope)


def _lows(samples: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    begin = samples[0][0]
    windows: dict[int, tuple[float, float]] = {}
    for time, value in samples:
        window = int((time - begin) / _WINDOW_S)
        lowest = windows.get(window)
        windows[window] = (time, value) if lowest is None or value < lowest[1] else lowest
    return [windows[window] for window in sorted(windows)]
