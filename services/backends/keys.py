"""Keys of people and machines: made, hashed and checked (Argon2id, RFC 9106).

A key that we make is NAME.SECRET, so that it alone says whose it is (a Bearer token, RFC 6750).
"""

import secrets
import threading

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MIN_CHARACTERS = 12
"""Of a key that a person chooses (NIST SP 800-63B asks for 8 at least, for 15 where it is all there is)."""

# 19 MiB, two passes, one lane: OWASP's first choice. Of several at once only so many are computed.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_AT_ONCE = threading.BoundedSemaphore(4)
NOBODYS = _HASHER.hash(secrets.token_urlsafe(32))
"""Checked against where there is no such name, so that it takes as long."""


def new_key(name: str) -> str:
    """256 bits that nobody can guess, behind the name that they are of."""
    return f"{name}.{secrets.token_urlsafe(32)}"


def name_in(key: str) -> str:
    """Whose a key says that it is; '' where it does not say so."""
    return key.rpartition(".")[0]


def hash_of(key: str) -> str:
    """What stands in the file of people."""
    return _HASHER.hash(key)


def is_key(key: str, key_hash: str) -> bool:
    """Whether a key is the one that was hashed; takes about as long either way."""
    with _AT_ONCE:
        try:
            return _HASHER.verify(key_hash, key)
        except (VerificationError, InvalidHashError):
            return False
