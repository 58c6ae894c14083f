"""What of each process stands in the audit trail: that it started, under which settings and files, and that it stopped.

By files, for the database may not be there yet. A start without a stop is a process that died.
"""

import hashlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import structlog
from pydantic import SecretStr

from services import __version__
from services.backends.audit_spool import AuditSpool
from services.settings import Settings
from services.triage.audit import AuditActor, AuditObject, AuditObjectKind
from services.triage.audit_types import AuditType, audited
from services.triage.errors import OutOfResources

log = structlog.get_logger(__name__)

_MOST_BYTES = 4_000_000
_NOT_TOLD = ("_key", "credentials")
"""Settings whose files hold secrets: a digest of a short one could be guessed from."""


@contextmanager
def in_the_trail(part: str, settings: Settings) -> Iterator[None]:
    """While a part of ours runs."""
    process = AuditActor(name=part, address=socket.gethostname())
    _write(settings, AuditType.APPLICATION_START, process, settings_in_force(settings))
    try:
        yield
    finally:
        _write(settings, AuditType.APPLICATION_STOP, process, ())


def settings_in_force(settings: Settings) -> tuple[AuditObject, ...]:
    """The settings that are not as they come, each as a digest, and of the files that they name the digests.

    Of a secret only that it is set.
    """
    told, files = {}, []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Path) and value.is_file() and not name.endswith(_NOT_TOLD):
            files.append(_file(name, value))
        if value == field.get_default():
            continue
        told[name] = "set" if isinstance(value, SecretStr) else _short(repr(value))
    everything = "\n".join(f"{name} {value}" for name, value in sorted(told.items()))
    told = {"digest": _digest(everything.encode()), "software_version": __version__, **told}
    return (AuditObject(kind=AuditObjectKind.SETTINGS, object_id="settings", details=told), *files)


def _file(setting: str, path: Path) -> AuditObject:
    try:
        content = path.read_bytes() if path.stat().st_size <= _MOST_BYTES else b""
        details = {"sha256": _digest(content)} if content else {"state": "too_large"}
    except OSError as error:
        details = {"state": error.strerror or "unreadable"}
    return AuditObject(kind=AuditObjectKind.FILE, object_id=setting, details=details)


def _write(settings: Settings, type_: AuditType, process: AuditActor, objects: tuple[AuditObject, ...]) -> None:
    try:
        AuditSpool(settings.data).add(audited(type_, process, objects=objects), now=datetime.now(UTC))
    except OutOfResources as error:
        log.warning("audit_event_lost", type=type_.value, reason=str(error))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _short(text: str) -> str:
    """Enough to tell whether it is another."""
    return _digest(text.encode("utf-8", "surrogatepass"))[:16]
