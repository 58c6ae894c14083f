"""What one sender may take up, counted over the processes of a door's associations.

Places are byte ranges of a file that a process locks (fcntl): the kernel frees them when it ends, however it ends.
Rates are token buckets in files: they fill evenly, up to what a minute allows.
"""

import fcntl
import hashlib
import os
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path

from services.triage.peer import Peer

_BUCKET = struct.Struct("<ddd")  # when it was last filled (s), and what it holds: instances, bytes
_MB = 1_000_000
_MINUTE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Places:
    """Places at a door in a folder of its own. Whoever takes one holds it until the process ends, or gives it back."""

    folder: Path
    _held: dict[str, int] = field(default_factory=dict, init=False)

    def take(self, of: str, limit: int | None) -> bool:
        """Take one of `limit` places of someone; False: all are taken. None: there is always one."""
        if limit is None or of in self._held:
            return True
        place = os.open(_file(self.folder, of, "places"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        for number in range(limit):
            try:
                fcntl.lockf(place, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            except OSError:
                continue
            self._held[of] = place
            return True
        os.close(place)
        return False

    def give_back(self, of: str) -> None:
        """Free the place, if this process holds one."""
        place = self._held.pop(of, None)
        if place is not None:
            os.close(place)


@dataclass(frozen=True, kw_only=True)
class Rates:
    """How much has come from each peer, in a folder of its own."""

    folder: Path

    def spend(self, peer: Peer, size_bytes: int) -> bool:
        """Whether an instance of this size is within the peer's quota; it is counted then.

        One that is larger than all that is left is taken as long as anything is left, or it never could be; those after
        it wait until that is made up for.
        """
        quota = peer.quota
        if quota.instances_per_minute is None and quota.mb_per_minute is None:
            return True
        instances = float(quota.instances_per_minute or float("inf"))
        size = float(quota.mb_per_minute or float("inf")) * _MB
        with _file(self.folder, peer.name, "rate").open("a+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            now, found = time.monotonic(), os.pread(file.fileno(), _BUCKET.size, 0)
            then, some, more = _BUCKET.unpack(found) if len(found) == _BUCKET.size else (now, instances, size)
            share = (now - then) / _MINUTE_S
            some, more = _filled(some, instances, share), _filled(more, size, share)
            within = some >= 1 and more > 0
            if within:
                some, more = some - 1, more - size_bytes
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), _BUCKET.pack(now, some, more))
        return within


def _filled(holds: float, most: float, share: float) -> float:
    """What a bucket holds by now. A limit that was raised or taken away since counts at once."""
    return most if most == float("inf") or holds == float("inf") else min(most, holds + most * share)


def _file(folder: Path, of: str, kind: str) -> Path:
    return folder / f"{hashlib.sha256(of.encode()).hexdigest()}.{kind}"
