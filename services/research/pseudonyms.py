"""Who stands for whom: one keyed function, so that an export says the same of a patient as the one before.

Nothing is written down: who has the key and the hospital's data finds a patient by making all pseudonyms again, and who
has not the key finds nobody (HMAC, RFC 2104). A site that loses the key can go on, but under other pseudonyms.
"""

import hashlib
import hmac
import secrets
from base64 import b32encode
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path

from services.triage.study import StudyAttributes

KEY_BYTES = 32
_SHIFT_DAYS = (30, 3650)
_STANDARD = "1.2.840.10008."


class KeyRefused(Exception):
    """Why a key cannot be used; the text is for the person who typed the command."""


def load_key(path: Path) -> bytes:
    """The key of a file, which must be its owner's alone. Raises KeyRefused."""
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="ascii").strip()
        key = bytes.fromhex(text)
    except (OSError, ValueError) as error:
        raise KeyRefused(f"{path}: no key can be read from it: {KEY_BYTES} bytes in hexadecimal digits") from error
    if len(key) < KEY_BYTES:
        raise KeyRefused(f"{path}: the key has {len(key)} bytes, and needs {KEY_BYTES}")
    if mode & 0o077:
        raise KeyRefused(f"{path}: others than its owner may use it: chmod 600 {path}")
    return key


def make_key(path: Path) -> None:
    """Write a new one. Raises KeyRefused where there is a file."""
    try:
        path.touch(mode=0o600, exist_ok=False)
    except OSError as error:
        raise KeyRefused(f"{path}: {error.strerror}") from error
    path.write_text(secrets.token_hex(KEY_BYTES) + "\n", encoding="ascii")


@dataclass(frozen=True, kw_only=True)
class Pseudonyms:
    """Of one key, for one patient.

    patient: tenant, issuer and ID, as the store has them, corrections and merges included; for a study without an ID,
    the study. keep_uids: Retain UIDs.
    """

    key: bytes
    patient: tuple[str, ...]
    keep_uids: bool = False

    @classmethod
    def of(cls, key: bytes, study: StudyAttributes, *, tenant: str, keep_uids: bool) -> "Pseudonyms":
        """Those of the patient of a study."""
        known = ("patient", tenant, study.issuer_of_patient_id, study.patient_id)
        nobody = ("study", study.study_instance_uid)
        return cls(key=key, patient=known if study.patient_id else nobody, keep_uids=keep_uids)

    @cached_property
    def subject(self) -> str:
        """The patient's."""
        return f"P-{self._word('subject', *self.patient)}"

    @cached_property
    def shift(self) -> timedelta:
        """By how much the patient's dates are moved, always back, and always by whole days."""
        fewest, most = _SHIFT_DAYS
        number = int.from_bytes(self._digest("shift", *self.patient)[:8])
        return -timedelta(days=fewest + number % (most - fewest + 1))

    def reader(self, name: str) -> str:
        """A person's who is not the patient, whichever way the name is written."""
        parts = " ".join(name.replace("^", " ").replace("=", " ").lower().split())
        return f"R-{self._word('reader', parts)}"

    def uid(self, uid: str) -> str:
        """That of a UID (PS3.5 B.2), the same in every object and export; what the Standard has given out stays."""
        if self.keep_uids or uid.startswith(_STANDARD):
            return uid
        return f"2.25.{int.from_bytes(self._digest('uid', uid)[:16])}"

    def moved(self, day: date) -> date:
        """A date of the patient's; not before the year 1."""
        try:
            return day + self.shift
        except OverflowError:
            return date.min

    def _word(self, *of: str) -> str:
        return b32encode(self._digest(*of)[:10]).decode()

    def _digest(self, *of: str) -> bytes:
        return hmac.new(self.key, "\0".join(("vigie research", *of)).encode(), hashlib.sha256).digest()


def fingerprint(key: bytes) -> str:
    """Tells a site which of its keys an export was made with; the key is not found by it."""
    return hmac.new(key, b"vigie research\0fingerprint", hashlib.sha256).hexdigest()[:16]
