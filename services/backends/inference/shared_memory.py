"""Arrays in POSIX shared memory (shm_overview(7)) that a Triton server on the same host maps too.

A region is a file in /dev/shm whose owner holds a lock (flock(2)) while it lives: however the owner ends, the kernel
lets go, and the next one finds the region, has the server forget it, and unlinks it. That works across containers that
share /dev/shm, where process ids mean nothing.
"""

import fcntl
import itertools
import math
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FOLDER = Path("/dev/shm")  # noqa: S108 - what shm_open(3) names
PREFIX = "vigie-"
_ALIGNMENT = 64
_numbers = itertools.count(1)


class SharedRegion:
    """A region of its own for one request. Raises OSError: no /dev/shm here, or not enough room in it."""

    def __init__(self, size_bytes: int) -> None:
        self.name = f"{PREFIX}{os.getpid()}-{next(_numbers)}-{os.urandom(4).hex()}"
        self.size_bytes = size_bytes
        self._end = 0
        self._descriptor = os.open(FOLDER / self.name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            # raises when another process took the region for abandoned before it was locked
            (FOLDER / self.name).stat()
            # room is taken now: a write beyond it would end the process (SIGBUS), not raise
            os.posix_fallocate(self._descriptor, 0, size_bytes)
            self._memory = mmap.mmap(self._descriptor, size_bytes)
        except OSError:
            self.unlink()
            os.close(self._descriptor)
            raise

    def array(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> tuple[npt.NDArray[Any], int]:
        """The next array in the region, and its offset in bytes."""
        offset = self._end
        count = math.prod(shape)
        array = np.frombuffer(self._memory, dtype=dtype, count=count, offset=offset).reshape(shape)
        self._end = offset + room(array.nbytes)
        return array, offset

    def unlink(self) -> None:
        """The name is gone at once; the memory when nobody maps it any more."""
        unlink(self.name)

    def close(self) -> None:
        """Let go of the lock. Arrays of the region stay readable as long as they are held."""
        os.close(self._descriptor)


def unlink(name: str) -> None:
    """Remove a region by its name; one that is gone is no error."""
    (FOLDER / name).unlink(missing_ok=True)


def room(size_bytes: int) -> int:
    """What an array of this size takes in a region."""
    return -(-size_bytes // _ALIGNMENT) * _ALIGNMENT


def abandoned() -> Iterator[str]:
    """Names of regions whose owner is gone. Each is locked while it is in hand."""
    for path in FOLDER.glob(f"{PREFIX}*"):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # unlinked since, or another user's
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield path.name
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)
