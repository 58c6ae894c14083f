"""When a process of ours must stop: on SIGTERM and SIGINT, and when one of its threads broke."""

import _thread
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_PATIENCE_S = 30.0  # the supervisor's own


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set; call it from the main thread.

    A handler runs in between whatever the main thread does, another handler among it, and an event's lock is not to be
    had twice by one thread: so it is set by another, of the lowest level (`threading` has locks of its own).
    """
    stop = threading.Event()
    for number in _SIGNALS:
        signal.signal(number, lambda *_: _thread.start_new_thread(stop.set, ()))
    return stop


def exit_on_signals() -> None:
    """End at once, with 0, until a part installs its own handlers: it has not begun and has nothing to finish."""
    for number in _SIGNALS:
        signal.signal(number, lambda *_: os._exit(0))


@contextmanager
def beside(*runs: Callable[[], object], stop: threading.Event, patience_s: float | None = None) -> Iterator[None]:
    """Run each in a thread of its own; the block ends when `stop` is set, or sets it by its end.

    A process whose thread broke looks healthy, and only one that has ended is started again. So what a run raises sets
    `stop`, and is raised here once the block has ended and the others have brought what is in hand to its end, or have
    had time for it. patience_s: that time when nothing broke; None: as long as they need.
    """
    broken: list[BaseException] = []

    def attempt(run: Callable[[], object]) -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001 - raised below
            broken.append(error)
            stop.set()

    # daemons: one that hangs must not keep a process that has nothing else left
    threads = [threading.Thread(target=attempt, args=(run,), daemon=True) for run in runs]
    try:
        for thread in threads:
            thread.start()
        yield
    except BaseException as error:  # noqa: BLE001 - raised below
        broken.append(error)
    stop.set()
    if broken and patience_s is None:
        patience_s = _PATIENCE_S
    until = None if patience_s is None else time.monotonic() + patience_s
    for thread in threads:
        thread.join(None if until is None else max(0.0, until - time.monotonic()))
    if broken:
        raise broken[0]
