"""Modalities: processes of their own, each with one association at a time. A study begins at its moment, not before.

They make their studies in memory (a tmpfs where there is one), so that the disk is the door's alone.
"""

import multiprocessing
import queue
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from load.studies import write_study
from services.backends.senders.association import OutgoingFile, associate
from services.logs import configure_logging
from services.sizing.mix import MIX, Kind
from services.triage.errors import DestinationRefused, DestinationUnavailable

AHEAD_S = 4.0
"""So long before its moment a study is given to a sender, who makes it meanwhile."""

TRIES = 5
AGAIN_S = 0.5
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True, kw_only=True)
class Order:
    """Send a study of this kind at `due` (seconds since the epoch)."""

    phase: str
    due: float
    modality: str
    seed: int

    @property
    def kind(self) -> Kind:
        """What it is."""
        return next(kind for kind in MIX if kind.modality == self.modality)


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of an order. Times in seconds since the epoch.

    ready: when the sender had made the study. began: when it asked for the association. acknowledged: when the last
    C-STORE was answered; None when not all was taken. c_store_s: of each instance. digests: of those acknowledged.
    errors: what it met on the way, by class, each followed by another try.
    """

    order: Order
    uid: str
    instances: int
    ready: float
    began: float
    acknowledged: float | None
    c_store_s: tuple[float, ...]
    digests: tuple[str, ...]
    errors: tuple[str, ...]


class Senders:
    """So many modalities at work. Orders go in; what was sent comes out."""

    def __init__(self, count: int, *, address: str, folder: Path) -> None:
        self._orders: multiprocessing.Queue[Order | None] = _SPAWN.Queue()
        self._sent: multiprocessing.Queue[Sent] = _SPAWN.Queue()
        self.processes: list[BaseProcess] = [
            _SPAWN.Process(
                target=_send_all,
                args=(address, f"LOAD{number}", folder / str(number), self._orders, self._sent),
                daemon=True,
            )
            for number in range(1, count + 1)
        ]

    def give(self, order: Order) -> None:
        """Somebody who is free takes it."""
        self._orders.put(order)

    def taken(self, *, timeout_s: float) -> Iterator[Sent]:
        """What was sent meanwhile; waits for the first for so long."""
        with suppress(queue.Empty):
            yield self._sent.get(timeout=timeout_s) if timeout_s else self._sent.get_nowait()
            while True:
                yield self._sent.get_nowait()


@contextmanager
def senders(count: int, *, address: str, folder: Path) -> Iterator[Senders]:
    """Start them; at the end of the block they are gone, and so is what they have made."""
    working = Senders(count, address=address, folder=folder)
    try:
        for process in working.processes:
            process.start()
        yield working
    finally:
        for process in working.processes:
            if process.pid is not None:
                process.kill()
                process.join()
        shutil.rmtree(folder, ignore_errors=True)


def _send_all(
    address: str,
    ae_title: str,
    folder: Path,
    orders: "multiprocessing.Queue[Order | None]",
    sent: "multiprocessing.Queue[Sent]",
) -> None:
    configure_logging("ERROR")
    while (order := orders.get()) is not None:
        sent.put(send(order, address, ae_title, folder))


def send(order: Order, address: str, ae_title: str, folder: Path) -> Sent:
    """Make the study, wait for its moment, send it; what fails is tried again over a new association, a few times."""
    study = write_study(order.kind, folder, seed=order.seed)
    ready = time.time()
    time.sleep(max(0.0, order.due - ready))
    files = [OutgoingFile.read(path) for path in study.paths]
    began, took, errors = time.time(), list[float](), list[str]()
    while len(took) < len(files) and len(errors) < TRIES:
        try:
            with associate(address, ae_title, files[len(took) :], implicit_fallback=False) as association:
                for file in files[len(took) :]:
                    start = time.perf_counter()
                    association.store(file)
                    took.append(time.perf_counter() - start)
                acknowledged = time.time()
        except (DestinationUnavailable, DestinationRefused) as error:
            errors.append(type(error).__name__)
            time.sleep(AGAIN_S)
    shutil.rmtree(folder)
    return Sent(
        order=order,
        uid=study.uid,
        instances=len(files),
        ready=ready,
        began=began,
        acknowledged=acknowledged if len(took) == len(files) else None,
        c_store_s=tuple(took),
        digests=study.digests[: len(took)],
        errors=tuple(errors),
    )
