"""Answers that anybody may have and that the database pays for: told again for a while, however many ask."""

import time
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """What `make` answers, made anew when it is `for_s` seconds old. clock: monotonic seconds.

    It is made by one at a time; the others have the one before meanwhile, or wait for the first. So those who ask
    hold no more than one connection and, but for the first, no thread.
    """

    def __init__(self, make: Callable[[], T], *, for_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._make = make
        self._for_s = for_s
        self._clock = clock
        self._making = Lock()
        self._made: tuple[T, float] | None = None

    def get(self) -> T:
        """The answer. Raises what `make` raises, to whoever had it made; the next who asks has it made again."""
        found = self._made
        if found is not None and self._clock() - found[1] < self._for_s:
            return found[0]
        if not self._making.acquire(blocking=found is None):
            assert found is not None  # noqa: S101 - for the type checker
            return found[0]
        try:
            if self._made is None or self._made is found:  # else another was first
                self._made = self._make(), self._clock()
            return self._made[0]
        finally:
            self._making.release()
