"""The kinds of fault, drawn from a shuffled deck so that none is left out, and how each is done and undone."""

import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

from chaos.disk import CAN_BE_FILLED
from chaos.real_set import LEASE_S, RealSet

EVERYTHING = "everything"
DISK = "disk"
BROKER = "rabbitmq"
CAN_CUT = os.geteuid() == 0  # `ss -K` asks the kernel to end a connection of somebody else

_LATEST_S = 5.0  # a fault begins at most so long after the senders
_DOWN_S = (0.0, 2.5)
_FULL_S = (1.0, 3.0)
_PAUSED_S = (1.3 * LEASE_S, 2.0 * LEASE_S)  # longer than leases, claims and heartbeats
_CUTS, _BETWEEN_CUTS_S = 5, 0.4
_A_ROUND = (1, 2, 3)


class Kind(StrEnum):
    """What is done to a target."""

    KILL = "kill"
    PAUSE = "pause"
    CUT = "cut"
    FILL = "fill"
    WIPE = "wipe"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault: begins `at_s` after the senders, and ends (is undone) `lasts_s` later."""

    kind: Kind
    target: str
    at_s: float
    lasts_s: float

    def __str__(self) -> str:
        return f"{self.kind} {self.target} at {self.at_s:.1f} s for {self.lasts_s:.1f} s"


def deal(the_set: RealSet, dice: random.Random) -> Iterator[list[Fault]]:
    """The faults of round after round; no target has two at the same time."""
    deck: list[tuple[Kind, str]] = []
    while True:
        faults: list[Fault] = []
        for _ in range(dice.choice(_A_ROUND)):
            if not deck:
                deck = _all(the_set)
                dice.shuffle(deck)
            kind, target = deck.pop()
            if _may_join(target, faults):
                lasts_s = dice.uniform(*{Kind.PAUSE: _PAUSED_S, Kind.FILL: _FULL_S}.get(kind, _DOWN_S))
                faults.append(Fault(kind=kind, target=target, at_s=dice.uniform(0, _LATEST_S), lasts_s=lasts_s))
            else:
                deck.insert(0, (kind, target))
        yield faults


def _all(the_set: RealSet) -> list[tuple[Kind, str]]:
    members = list(the_set.members)
    deck = [(Kind.KILL, name) for name in [*members, EVERYTHING]] + [(Kind.PAUSE, name) for name in members]
    deck += [(Kind.CUT, name) for name in the_set.ports if CAN_CUT]
    return [*deck, (Kind.WIPE, BROKER), *[(Kind.FILL, DISK)] * CAN_BE_FILLED]


def _may_join(target: str, others: Sequence[Fault]) -> bool:
    taken = {other.target for other in others}
    return not taken or (EVERYTHING not in taken | {target} and target not in taken)


def inflict(faults: Sequence[Fault], the_set: RealSet) -> None:
    """Do and undo them all, each at its time; returns when the last is undone. Raises what went wrong in any."""
    broken: list[Exception] = []

    def one(fault: Fault) -> None:
        try:
            time.sleep(fault.at_s)
            _DO[fault.kind](fault, the_set)
        except Exception as error:  # noqa: BLE001 - carried to the campaign's own thread
            broken.append(error)

    threads = [threading.Thread(target=one, args=(fault,)) for fault in faults]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if broken:
        raise broken[0]


def _kill(fault: Fault, the_set: RealSet) -> None:
    members = the_set.members
    names = list(members) if fault.target == EVERYTHING else [fault.target]
    for name in names:
        members[name].kill()
    time.sleep(fault.lasts_s)
    with ThreadPoolExecutor(len(names)) as pool:
        for started in [pool.submit(members[name].start) for name in names]:
            started.result()


def _pause(fault: Fault, the_set: RealSet) -> None:
    member = the_set.members[fault.target]
    member.pause()
    time.sleep(fault.lasts_s)
    member.resume()


def _cut(fault: Fault, the_set: RealSet) -> None:
    for _ in range(_CUTS):
        command = ["ss", "--kill", "--tcp", "dst", "127.0.0.1", "dport", "=", f":{the_set.ports[fault.target]}"]
        subprocess.run(command, check=True, capture_output=True)
        time.sleep(_BETWEEN_CUTS_S)


def _wipe(fault: Fault, the_set: RealSet) -> None:
    broker = the_set.members[fault.target]
    broker.kill()
    the_set.forget_messages()
    time.sleep(fault.lasts_s)
    broker.start()


def _fill(fault: Fault, the_set: RealSet) -> None:
    the_set.disk.fill()
    try:
        time.sleep(fault.lasts_s)
    finally:
        the_set.disk.free()


_DO: dict[Kind, Callable[[Fault, RealSet], None]] = {
    Kind.KILL: _kill,
    Kind.PAUSE: _pause,
    Kind.CUT: _cut,
    Kind.FILL: _fill,
    Kind.WIPE: _wipe,
}
