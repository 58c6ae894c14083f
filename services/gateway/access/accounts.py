"""The people and machines in force: the file of VIGIE_PEOPLE as it is now, and whether a key is theirs."""

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection
from pathlib import Path
from threading import Lock

from services.backends.keys import NOBODYS, is_key
from services.backends.people_file import Account, Accounts, load_people
from services.backends.reread import Reread

_KNOWN_KEYS = 1000


class People:
    """The file's people and machines, as it is by now. changed: is told what was in force, and what is.

    Raises PeopleRefused when the file cannot be used at the start.
    """

    def __init__(
        self,
        path: Path,
        tenants: Collection[str],
        changed: Callable[[Accounts, Accounts], None] = lambda _before, _after: None,
    ) -> None:
        self._accounts = Reread(path, lambda: load_people(path, tenants), name="people", changed=changed)
        self._lock = Lock()
        # A key is checked by a hash that is slow on purpose: a machine that asks for 2,000 slices shows it 2,000 times.
        self._known: OrderedDict[bytes, str] = OrderedDict()
        self._secret = secrets.token_bytes(32)

    def find(self, name: str) -> Account | None:
        """Who has this name."""
        return self._accounts.in_force().get(name)

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
