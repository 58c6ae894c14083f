"""One stretch of the campaign at one rate: studies come, all is left to settle, and it is told how that went."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import httpx

from load.losing import open_ends
from load.senders import AHEAD_S, Order, Senders, Sent
from load.studies import arrivals_s, draw
from load.the_set import TheSet
from load.times import StudyTimes, percentiles, study_times
from load.watching import Sample, Watch
from services.sizing.mix import MIX, Kind

SETTLED_WITHIN_S = 300.0
"""Whatever is not at its end so long after the last study has come is lost."""

_LEAD_S = AHEAD_S + 1.0
_LOOK_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What was sent at one rate, and what was seen meanwhile. an_hour: studies. begin, end: of the stretch itself.

    ordered: studies that senders were given; `sent` has fewer where some have not come back.
    """

    name: str
    an_hour: float
    minutes: float
    begin: float
    end: float
    ordered: int
    sent: tuple[Sent, ...]
    times: tuple[StudyTimes, ...]
    samples: tuple[Sample, ...]

    @property
    def sent_mb(self) -> float:
        """Pixels that were acknowledged."""
        return sum(len(one.digests) * one.order.kind.instance_bytes for one in self.sent) / 1e6

    def cores_of(self) -> dict[str, float]:
        """Cores that each process has used, on average, the busiest first."""
        if len(self.samples) < 2:
            return {}
        used: dict[str, float] = {}
        for before, after in pairwise(self.samples):
            for name, seconds in after.cpu_s.items():
                used[name] = used.get(name, 0) + max(0.0, seconds - before.cpu_s.get(name, seconds))
        return dict(sorted(((name, value / self._seen_s) for name, value in used.items()), key=lambda one: -one[1]))

    @property
    def cores_busy(self) -> float:
        """Of the machine, whoever used them."""
        return (self.samples[-1].cores_busy_s - self.samples[0].cores_busy_s) / self._seen_s if self.samples else 0.0

    @property
    def disk_busy(self) -> float:
        """Share of the time in which the disk had something to do."""
        return (self.samples[-1].disk_busy_s - self.samples[0].disk_busy_s) / self._seen_s if self.samples else 0.0

    @property
    def disk_mb_s(self) -> float:
        """Written to it."""
        return (self.samples[-1].disk_mb - self.samples[0].disk_mb) / self._seen_s if self.samples else 0.0

    @property
    def list_s(self) -> tuple[float, float, float]:
        """Percentiles of the work list's first page."""
        return percentiles([one.list_s for one in self.samples if one.list_s is not None])

    @property
    def most_waiting(self) -> int:
        """The longest that the queue was, in jobs that no worker had."""
        return int(max((one.jobs.get("queued", 0) for one in self.samples), default=0))

    @property
    def _seen_s(self) -> float:
        return max(1e-9, self.samples[-1].time - self.samples[0].time)


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """What phases are played on. tell: hears how it goes."""

    running: TheSet
    senders: Senders
    watch: Watch
    client: httpx.Client
    seed: int
    tell: Callable[[str], None]

    def play(self, name: str, *, an_hour: float, minutes: float, kinds: Sequence[Kind] = MIX) -> Phase:
        """One phase. Raises EndedByItself when a process of ours ends."""
        orders = self._orders(name, an_hour, minutes, kinds)
        begin = time.time()
        sent = self._send(name, orders, end=begin + _LEAD_S + minutes * 60)
        end = time.time()
        self.tell(f"{name}: {len(sent)} studies came; settling")
        self._settle(sent)
        return Phase(
            name=name,
            an_hour=an_hour,
            minutes=minutes,
            begin=begin,
            end=end,
            ordered=len(orders),
            sent=tuple(sent),
            times=tuple(study_times(sent, self.running)),
            samples=tuple(self.watch.between(begin, end)),
        )

    def _orders(self, name: str, an_hour: float, minutes: float, kinds: Sequence[Kind]) -> list[Order]:
        dice = random.Random(f"{self.seed} {name}")
        start = time.time() + _LEAD_S
        return [
            Order(phase=name, due=start + at, modality=draw(dice, kinds).modality, seed=dice.randrange(2**32))
            for at in arrivals_s(dice, an_hour=an_hour, minutes=minutes)
        ]

    def _send(self, name: str, orders: Sequence[Order], *, end: float) -> list[Sent]:
        """Give each order a little before its moment; answers once all are sent and the time is over, or long over."""
        waiting, sent, told = list(orders), list[Sent](), time.monotonic()
        while waiting or len(sent) < len(orders) or time.time() < end:
            while waiting and waiting[0].due - AHEAD_S <= time.time():
                self.senders.give(waiting.pop(0))
            sent += [one for one in self.senders.taken(timeout_s=_LOOK_S) if one.order.phase == name]
            if time.monotonic() - told > 30:
                told = time.monotonic()
                self.running.require_alive()
                self.tell(f"{len(sent)} of {len(orders)} studies are sent")
            if time.time() > end + SETTLED_WITHIN_S:
                break
        return sent

    def _settle(self, sent: Sequence[Sent]) -> None:
        """Wait until every study has come to its end, or the bound is over."""
        deadline, unsettled = time.monotonic() + SETTLED_WITHIN_S, list(sent)
        while unsettled and time.monotonic() < deadline:
            self.running.require_alive()
            time.sleep(_LOOK_S)
            while unsettled and not open_ends(unsettled[0], self.client):
                unsettled.pop(0)
