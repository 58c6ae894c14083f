"""The people and machines in force: the file of VIGIE_PEOPLE as it is now, and whether a key is theirs."""

import hmac
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from pathlib import Path
from threading import Lock

import structlog

from services.backends.keys import NOBODYS, is_key
from services.backends.people_file import Account, Accounts, load_people
from services.logs import Conditions
from services.triage.errors import PeopleRefused

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 1.0
_KNOWN_KEYS = 1000


class People:
    """Reads the file again when it has changed; a change that cannot be used leaves the last good one in force.

    changed: is told what was in force, and what is.

    Raises PeopleRefused when the file cannot be used at the start.
    """

    def __init__(
        self,
        path: Path,
        tenants: Collection[str],
        changed: Callable[[Accounts, Accounts], None] = lambda _before, _after: None,
    ) -> None:
        self._path = path
        self._changed = changed
        self._tenants = tenants
        self._lock = Lock()
        self._conditions = Conditions(log)
        self._accounts: Accounts = load_people(path, tenants)
        self._seen = _state(path)
        self._looked_at = time.monotonic()
        # A key is checked by a hash that is slow on purpose: a machine that asks for 2,000 slices shows it 2,000 times.
        self._known: OrderedDict[bytes, str] = OrderedDict()
        self._secret = secrets.token_bytes(32)

    def find(self, name: str) -> Account | None:
        """Who has this name."""
        return self._in_force().get(name)

    def known(self, name: str, key: str) -> Account | None:
        """The same as `check`, at once, of a key that was checked before."""
        account, shown = self.find(name), self._digest(name, key)
        with self._lock:
            return account if account and self._known.get(shown) == account.key_hash else None

    def check(self, name: str, key: str) -> Account | None:
        """Who has this name and this key; takes as long whether or not there is such a name."""
        account = self.find(name)
        key_hash = account.key_hash if account else NOBODYS
        if not is_key(key, key_hash) or account is None:
            return None
        with self._lock:
            self._known[self._digest(name, key)] = key_hash
            while len(self._known) > _KNOWN_KEYS:
                self._known.popitem(last=False)
        return account

    def _digest(self, name: str, key: str) -> bytes:
        return hmac.digest(self._secret, f"{name}\n{key}".encode("utf-8", "surrogatepass"), "sha256")

    def _in_force(self) -> Accounts:
        with self._lock:
            if time.monotonic() - self._looked_at >= _LOOK_EVERY_S:
                self._looked_at = time.monotonic()
                self._read_if_changed()
            return self._accounts

    def _read_if_changed(self) -> None:
        state = _state(self._path)
        if state == self._seen:
            return
        before = self._accounts
        try:
            self._accounts = load_people(self._path, self._tenants)
        except PeopleRefused as error:
            self._conditions.begins("people_refused", "people", error=str(error))
            return
        self._seen = state
        self._conditions.ends("people_refused", "people")
        log.info("people_read", accounts=len(self._accounts))
        self._changed(before, self._accounts)


def _state(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)  # noqa: PTH116 - follows the links by which a mounted Secret is changed
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino
