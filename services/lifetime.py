"""When a process of ours must stop: on SIGTERM and SIGINT."""

import os
import signal
import threading

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set; call it from the main thread."""
    stop = threading.Event()
    for number in _SIGNALS:
        signal.signal(number, lambda *_: stop.set())
    return stop


def exit_on_signals() -> None:
    """End at once, with 0, until a part installs its own handlers: it has not begun and has nothing to finish."""
    for number in _SIGNALS:
        signal.signal(number, lambda *_: os._exit(0))
