"""Memory that was freed, and that the C library (glibc) keeps for next time, or not."""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # malloc.h
_DEFAULT_TRIM_THRESHOLD, _DEFAULT_MMAP_MAX = 128 * 1024, 65_536  # mallopt(3)
_NEVER = 2**31 - 1

_lock = threading.Lock()
_inside = 0
"""How many are in `reused` at this moment, in all threads: the C library has one setting for the process."""


def share_one_arena() -> None:
    """Have all threads that come take memory from the main arena (mallopt(3)), the only one whose end is given back.

    Called before they come: one that has an arena of its own keeps it. Nothing where the C library has no such call.
    """
    _set(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Give freed memory back to the system (malloc_trim(3)). Nothing where the C library has no such call.

    The files of a large series are many allocations of half a megabyte: without this a worker keeps hundreds of them,
    as much as its largest study has taken, for as long as it runs.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@contextmanager
def reused() -> Iterator[None]:
    """Within: what is freed serves the next allocation, of whatever size. Afterwards all of it is given back.

    Each layer of a network allocates its answer. The C library takes large blocks from the system and gives them back
    when they are freed; the kernel then clears every page again for the next layer, which takes a third of the CPU time
    of a small network. What this costs: holes between blocks, so the peak is higher.

    The setting is the process's. Of several that are inside, of one thread or many, the last restores what mallopt(3)
    has as defaults; from then on the C library no longer moves its thresholds by itself. A thread that has an arena of
    its own may keep up to 64 MiB in it (see `share_one_arena`). Nothing where the C library has no such calls.
    """
    global _inside
    with _lock:
        _inside += 1
        if _inside == 1:
            _set(_M_MMAP_MAX, 0)
            _set(_M_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _set(_M_MMAP_MAX, _DEFAULT_MMAP_MAX)
                _set(_M_TRIM_THRESHOLD, _DEFAULT_TRIM_THRESHOLD)
                give_back()


def _set(parameter: int, value: int) -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(parameter, value)
