"""Bodies of answers that are kept for the next who asks: each is made once, even where two ask for it at a time."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Lock

MOST_BYTES = 64 << 20
"""Kept in all; the metadata of a CT of 300 slices take one megabyte."""


class Prepared:
    """By a key that says all that a body is made of. Beyond `most_bytes` those go that were asked for longest ago.

    They live in the memory of this process and nowhere else.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._lock = Lock()
        self._bodies: OrderedDict[Hashable, Future[bytes]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """The body, made now if it is not there. Raises what `make` raises, to all who wait; then it is not kept."""
        with self._lock:
            body = self._bodies.get(key)
            is_mine = body is None
            body = self._bodies[key] = body or Future()
            self._bodies.move_to_end(key)
        if is_mine:
            self._make(key, body, make)
        return body.result()

    def _make(self, key: Hashable, body: Future[bytes], make: Callable[[], bytes]) -> None:
        try:
            body.set_result(make())
        except BaseException as error:  # noqa: BLE001  # told to all who wait
            body.set_exception(error)
        with self._lock:
            if body.exception():
                del self._bodies[key]
            made = {each: len(one.result()) for each, one in self._bodies.items() if one.done()}
            while made and sum(made.values()) > self._most_bytes:
                oldest = next(iter(made))
                del self._bodies[oldest], made[oldest]
