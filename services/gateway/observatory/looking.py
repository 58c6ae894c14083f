"""Looking at one model version in one window: from the store to its figures."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

from services.backends.store.observations import Observations, Span
from services.observatory.figures import Figures, Scope, observe
from services.observatory.history import history_of

REFERENCE_WINDOWS = 3
"""The reference is so many times as long as the window, and ends where that begins."""

LONGEST = timedelta(days=366)

_KEPT = 8
_FRESH = timedelta(minutes=5)
_OF_A_TURN = timedelta(hours=2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """Days, UTC, both inclusive."""

    first: date
    last: date

    @property
    def since(self) -> datetime:
        """When it begins."""
        return datetime.combine(self.first, time(), UTC)

    @property
    def until(self) -> datetime:
        """When it is over."""
        return datetime.combine(self.last + timedelta(days=1), time(), UTC)

    @property
    def span(self) -> Span:
        """All that was frozen in it."""
        return Span(since=self.since, until=self.until)

    def span_of(self, model: str, model_version: str) -> Span:
        """What this model version answered in it."""
        return replace(self.span, model=model, model_version=model_version)


def last_days(days: int, now: datetime) -> Window:
    """So many whole days, the last of them yesterday."""
    yesterday = now.astimezone(UTC).date() - timedelta(days=1)
    return Window(first=yesterday - timedelta(days=days - 1), last=yesterday)


def look(observations: Observations, window: Window, model: str, model_version: str, *, minimum: int) -> Figures:
    """The figures, from all records of window and reference. Raises StoreUnavailable."""
    since, until = window.since, window.until
    reference_since = since - REFERENCE_WINDOWS * (until - since)

    mine = window.span_of(model, model_version)
    return observe(
        history_of(observations.records(mine)),
        history_of(observations.records(replace(mine, since=reference_since, until=since))),
        Scope(model=model, model_version=model_version, since=since, until=until, reference_since=reference_since),
        minimum=minimum,
    )


class Lately:
    """`look`, remembered: what was found at the last turn, and for a few minutes what was asked for since."""

    def __init__(self, observations: Observations, *, minimum: int) -> None:
        self._observations = observations
        self._minimum = minimum
        self._seen: OrderedDict[tuple[Window, str, str], tuple[datetime, Figures]] = OrderedDict()
        self._lock = threading.Lock()

    def look(self, window: Window, model: str, model_version: str, *, now: datetime) -> Figures:
        """Raises StoreUnavailable."""
        key = window, model, model_version
        with self._lock:  # one look at a time: it takes memory and a core
            at, seen = self._seen.get(key, (now, None))
            if seen is None or now - at > _FRESH:
                seen, at = self._of_last_turn(key, now) or self._new(key), now
            self._seen[key] = at, seen
            self._seen.move_to_end(key)
            while len(self._seen) > _KEPT:
                self._seen.popitem(last=False)
            return seen

    def _of_last_turn(self, key: tuple[Window, str, str], now: datetime) -> Figures | None:
        window, model, version = key
        for one in self._observations.kept():
            scope = one.figures.scope
            same = (scope.since, scope.until, scope.model, scope.model_version) == (
                window.since,
                window.until,
                model,
                version,
            )
            if same and one.figures.minimum == self._minimum and now - one.computed_at < _OF_A_TURN:
                return one.figures
        return None

    def _new(self, key: tuple[Window, str, str]) -> Figures:
        self._observations.fill()
        return look(self._observations, *key, minimum=self._minimum)
