"""A file of settings that is read again when it changes; a change that cannot be used leaves the last good one."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

import structlog

from services.logs import Conditions
from services.triage.errors import RejectedError

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 1.0

Content = TypeVar("Content")


class Reread(Generic[Content]):
    """What a file says by now. Read by the first `Reread(...)`, whose errors are its caller's; never raises later.

    name: of the log's events, `<name>_read` and `<name>_refused`. changed: is told what was in force, and what is.
    Safe in threads.
    """

    def __init__(
        self,
        path: Path,
        load: Callable[[], Content],
        *,
        name: str,
        changed: Callable[[Content, Content], None] = lambda _before, _after: None,
    ) -> None:
        self._path = path
        self._load = load
        self._name = name
        self._changed = changed
        self._lock = Lock()
        self._conditions = Conditions(log)
        self._content = load()
        self._seen = _state(path)
        self._looked_at = time.monotonic()

    def in_force(self) -> Content:
        """The newest content that could be used; looks for a newer one once a second at most."""
        with self._lock:
            if time.monotonic() - self._looked_at >= _LOOK_EVERY_S:
                self._looked_at = time.monotonic()
                self._read_if_changed()
            return self._content

    def _read_if_changed(self) -> None:
        state = _state(self._path)
        if state == self._seen:
            return
        before = self._content
        try:
            self._content = self._load()
        except (RejectedError, ValueError) as error:
            self._conditions.begins(f"{self._name}_refused", error=str(error))
            return
        self._seen = state
        self._conditions.ends(f"{self._name}_refused")
        log.info(f"{self._name}_read")
        self._changed(before, self._content)


def _state(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)  # noqa: PTH116 - follows the links by which a mounted ConfigMap or Secret is changed
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino
