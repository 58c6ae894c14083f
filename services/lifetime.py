"""When a process of ours must stop: on SIGTERM and SIGINT."""

import _thread
import os
import signal
import threading

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


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
