"""Memory that was freed, and that the C library (glibc) keeps for next time."""

import ctypes
from contextlib import suppress

_M_ARENA_MAX = -8  # malloc.h


def share_one_arena() -> None:
    """Have all threads that come take memory from the main arena (mallopt(3)), the only one whose end is given back.

    Called before they come: one that has an arena of its own keeps it. Nothing where the C library has no such call.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Give freed memory back to the system (malloc_trim(3)). Nothing where the C library has no such call.

    The files of a large series are many allocations of half a megabyte: without this a worker keeps hundreds of them,
    as much as its largest study has taken, for as long as it runs.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
