"""How often a sign-in may fail: guessing is made slow, by name and by address."""

from collections import OrderedDict, deque
from collections.abc import Iterable
from datetime import datetime, timedelta
from threading import Lock

WINDOW = timedelta(minutes=5)
OF_NAME_AT_ADDRESS = 5
OF_NAME = 50
"""From all addresses together: who guesses from many is slowed, and who owns the name hardly ever shut out."""
OF_ADDRESS = 100
"""For all names together: behind a proxy a whole hospital may have one address."""
_REMEMBERED = 10_000

_Key = tuple[str, str]


class Attempts:
    """Failures of this process within the last minutes. Thread-safe; it forgets the oldest when there are very many."""

    def __init__(self) -> None:
        self._failures: OrderedDict[_Key, deque[datetime]] = OrderedDict()
        self._lock = Lock()

    def wait_s(self, name: str, address: str, *, now: datetime) -> int:
        """After how many seconds the next try is heard; 0: now."""
        with self._lock:
            waits = [self._wait(key, limit, now) for key, limit in _keys(name, address)]
        return max(waits)

    def failed(self, name: str, address: str, *, now: datetime) -> None:
        """Note a failure."""
        with self._lock:
            for key, _ in _keys(name, address):
                self._failures.setdefault(key, deque(maxlen=OF_ADDRESS)).append(now)
                self._failures.move_to_end(key)
            while len(self._failures) > _REMEMBERED:
                self._failures.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        """Whoever signs in has shown who they are: what they mistyped before is forgotten."""
        with self._lock:
            self._failures.pop((name, address), None)

    def _wait(self, key: _Key, limit: int, now: datetime) -> int:
        failures = self._failures.get(key, deque())
        while failures and failures[0] <= now - WINDOW:
            failures.popleft()
        if len(failures) < limit:
            return 0
        return int((failures[-limit] + WINDOW - now).total_seconds()) + 1


def _keys(name: str, address: str) -> Iterable[tuple[_Key, int]]:
    return ((name, address), OF_NAME_AT_ADDRESS), ((name, ""), OF_NAME), (("", address), OF_ADDRESS)
