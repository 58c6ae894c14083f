"""Instances and results in one folder, by digest.

    inbox/<digest>.<sender>.<trace>.dcm   kept, not yet in the store; sender: URL-safe base64 of the AE title or
                                       address, followed by ~ and the tenant where there are tenants; trace: that of the
                                       W3C trace context, absent where none was told
    inbox/<digest>.<sender>.<trace>.<random>.unfinished   being written; whole if the digest is that of its bytes
    instances/<ab>/<digest>.dcm        settled: the store knows them
    instances/<ab>/<digest>.older      empty: the store has a newer content in its place
    results/<ab>/<sha256>.dcm          result objects
    quarantine/<sha256>.bin, .json     bytes nobody understood, or that came from the wrong tenant, and why
    deleting/<digest>.dcm              about to go: see deletion.py
    tenants/                           whose the studies are: see claims.py

Sender, tenant and trace lie in the file's name so that they survive a kill with no further write. Moving a file from
the inbox to its settled place is one rename, which journaling file systems do whole or not at all.
"""

import base64
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

from services.backends import part10
from services.backends.files import deletion, durable
from services.backends.files.claims import Claims
from services.backends.files.pixels import same_pixels
from services.triage.errors import InstanceRefused, OutOfResources, Reason
from services.triage.ports import Deleted, KeptFile
from services.triage.tenant import NO_TENANT
from services.triage.trace import TraceContext

ROOM_BYTES = 64_000_000
"""More than the objects of any one result take."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_TENANT_MARK = "~"  # no letter of URL-safe base64
_SENDER_LIMIT = 96  # with the digest and base64 well below the 255 bytes of a file name
_NAME_LIMIT = 210  # of a name to which what marks it as unfinished can still be added


class FolderStudyFiles:
    """`StudyFiles` in a folder. Safe for several processes; all of `root` must be one file system.

    min_free_mb: nothing that is sent to us is written while less is free: what is here already must come to its end.
    """

    def __init__(self, root: Path, *, min_free_mb: int = 0) -> None:
        self._inbox = root / "inbox"
        self._instances = root / "instances"
        self._results = root / "results"
        self._quarantine = root / "quarantine"
        self._deleting = root / "deleting"
        for folder in (self._inbox, self._instances, self._results, self._quarantine, self._deleting):
            folder.mkdir(parents=True, exist_ok=True)
        durable.sync_folder(root)
        self._claims = Claims(root / "tenants", via=self._inbox)
        self._min_free_bytes = min_free_mb * 1_000_000
        self._inbox_name: dict[str, str] = {}  # digest -> name, as last seen; a hint that spares listing the inbox

    def claim(self, study_instance_uid: str, tenant: str) -> str:
        """Have a study for a tenant, durably, unless another has it; answers whose it is. Raises OutOfResources."""
        return self._claims.claim(study_instance_uid, tenant)

    def assign(self, study_instance_uid: str, tenant: str) -> None:
        """Have a study for a tenant, whoever had it. Raises OutOfResources."""
        self._claims.assign(study_instance_uid, tenant)

    def keep(
        self,
        content: bytes,
        *,
        digest: str,
        received_from: str,
        tenant: str = NO_TENANT,
        traceparent: str | None = None,
    ) -> KeptFile:
        """Keep one Part 10 file: file and directory entry are on disk when this returns. Raises OutOfResources.

        If only the last fsync (of the directory) fails, the file stays: it was not acknowledged, and a resend of it
        is recognised, whereas removing it might take away what another process has just acknowledged.
        """
        kept = KeptFile(
            digest=_checked(digest),
            size_bytes=len(content),
            received_from=received_from,
            tenant=tenant,
            traceparent=traceparent,
        )
        target = self._inbox / _name(kept)
        # what is settled may be another tenant's: the store has the last word on each instance of a tenant
        is_told = tenant != NO_TENANT or self._outdated(digest).exists()
        if is_told or not deletion.again(self._settled(digest)):
            self._require_free(self._min_free_bytes)
            unfinished = target.with_suffix(f".{uuid4().hex}{durable.UNFINISHED}")
            durable.write_self_told(content, target, unfinished=unfinished)
        return kept

    def pending(self) -> Iterator[KeptFile]:
        """Files kept but not yet settled, oldest first."""
        found: list[tuple[int, str, int]] = []
        with os.scandir(self._inbox) as entries:
            for entry in entries:
                if not entry.name.endswith(".dcm"):
                    continue
                try:
                    status = entry.stat()
                except FileNotFoundError:  # settled by another process meanwhile
                    continue
                found.append((status.st_mtime_ns, entry.name, status.st_size))
        for _, name, size in sorted(found):
            digest, (sender, tenant) = name.split(".")[0], _sender(name)
            self._inbox_name[digest] = name
            yield KeptFile(
                digest=digest, size_bytes=size, received_from=sender, tenant=tenant, traceparent=_traceparent(name)
            )

    def settle(self, digests: Iterable[str], *, tenant: str = NO_TENANT) -> None:
        """Move these out of the inbox. One fsync of the inbox makes all the renames durable; without it they repeat."""
        wanted = set(digests)
        with os.scandir(self._inbox) as entries:
            waiting = [entry.name for entry in entries if entry.name.endswith(".dcm") and entry.name[:64] in wanted]
        names = [name for name in waiting if _sender(name)[1] == tenant]
        for name in names:
            digest = name.split(".", 1)[0]
            durable.move(self._inbox / name, self._settled(digest))
            self._inbox_name.pop(digest, None)
        if names:
            durable.sync_folder(self._inbox)

    def outdate(self, digests: Iterable[str]) -> None:
        """See `StudyFiles.outdate`. Not synced: after a power cut, one that comes again is at worst not told of."""
        with durable.as_out_of_resources():
            for marker in (self._outdated(_checked(digest)) for digest in digests):
                durable.make_folder(marker.parent)  # both contents may be settled only now
                marker.touch()

    def refuse(self, file: KeptFile, reason: Reason) -> None:
        """Put a pending file into quarantine; the same bytes of another tenant stay. Raises OutOfResources."""
        path = self._inbox / _name(file)
        with suppress(FileNotFoundError):  # another process was first
            self.quarantine(path.read_bytes(), reason=reason, received_from=file.received_from)
            path.unlink()
        durable.sync_folder(self._inbox)

    def path(self, digest: str) -> Path:
        """A local file with these bytes, pending or settled. Raises FileNotFoundError."""
        settled = self._settled(_checked(digest))
        if settled.exists():
            return settled
        hint = self._inbox_name.get(digest)
        if hint is not None and (self._inbox / hint).exists():
            return self._inbox / hint
        waiting = next(self._inbox.glob(f"{digest}.*.dcm"), None)
        if waiting is not None:
            return waiting
        if settled.exists():  # it moved while we looked
            return settled
        raise FileNotFoundError(digest)

    def same_pixels(self, kept: str, arrived: str) -> bool:
        """Whether two kept digests decode to the same pixels, geometry and scaling. Raises FileNotFoundError."""
        return same_pixels(self.path(kept), self.path(arrived))

    def quarantine(self, content: bytes, *, reason: Reason, received_from: str) -> Path:
        """Keep bytes that were refused, and why; the same bytes once. Raises OutOfResources."""
        self._require_free(self._min_free_bytes)
        sha256 = hashlib.sha256(content).hexdigest()
        note = {"code": reason.code, "text": reason.text, "received_from": received_from}
        target = self._quarantine / f"{sha256}.bin"
        durable.write(json.dumps(note).encode(), target.with_suffix(".json"), via=self._quarantine)
        durable.write(content, target, via=self._quarantine)
        return target

    def require_room(self) -> None:
        """Raises OutOfResources while less than ROOM_BYTES are free."""
        self._require_free(ROOM_BYTES)

    def keep_result(self, content: bytes) -> str:
        """Keep a result object; answers its SHA-256. Raises OutOfResources."""
        sha256 = hashlib.sha256(content).hexdigest()
        durable.write(content, self._result(sha256), via=self._results)
        return sha256

    def result_path(self, sha256: str) -> Path:
        """A local file with the bytes of a result object. Raises FileNotFoundError."""
        path = self._result(_checked(sha256))
        if not path.exists():
            raise FileNotFoundError(sha256)
        return path

    def delete(self, digests: Iterable[str], *, not_newer_than: datetime) -> Deleted:
        """See `StudyFiles.delete`."""
        checked = map(_checked, digests)
        return deletion.delete(checked, self._settled, self._deleting, not_newer_than=not_newer_than)

    def erase(self, digests: Iterable[str]) -> int:
        """See `StudyFiles.erase`."""
        wanted = set(map(_checked, digests))
        waiting = [path for path in self._inbox.iterdir() if path.name[:64] in wanted]
        places = [
            place
            for digest in wanted
            for place in (self._settled(digest), self._outdated(digest), self._deleting / f"{digest}.dcm")
        ]
        return deletion.unlink([*waiting, *places])

    def erase_results(self, sha256s: Iterable[str]) -> int:
        """See `StudyFiles.erase_results`."""
        return deletion.unlink(self._result(_checked(sha256)) for sha256 in sha256s)

    def size(self, digest: str) -> int:
        """See `StudyFiles.size`."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return 0

    def results(self, *, not_newer_than: datetime) -> Iterator[str]:
        """See `StudyFiles.results`."""
        return (name for name, _ in deletion.names(self._results, not_newer_than=not_newer_than))

    def quarantined(self) -> Iterator[Path]:
        """See `StudyFiles.quarantined`."""
        return iter(sorted(self._quarantine.glob("*.bin")))

    def erase_quarantined(self, paths: Iterable[Path]) -> int:
        """See `StudyFiles.erase_quarantined`."""
        # the reason goes last: bytes without one would not be found by whoever looks for what is left
        return deletion.unlink(each for path in paths for each in (path, path.with_suffix(".json")))

    def unsettle(self, studies: Mapping[str, str], *, received_from: str) -> None:
        """See `StudyFiles.unsettle`."""
        for digest, study_instance_uid in studies.items():
            tenant = self._claims.owner(study_instance_uid)
            kept = KeptFile(digest=digest, size_bytes=0, received_from=received_from, tenant=tenant)
            with suppress(FileNotFoundError):  # erased meanwhile
                durable.move(self._settled(_checked(digest)), self._inbox / _name(kept))
        durable.sync_folder(self._inbox)

    def settled(self) -> Iterator[str]:
        """Digests of all that is settled."""
        return (name for name, _ in deletion.names(self._instances))

    def disown(self, study_instance_uid: str) -> None:
        """See `StudyFiles.disown`."""
        self._claims.forget(study_instance_uid)

    def recover(self, *, older_than: timedelta = timedelta(hours=1)) -> int:
        """Take in or remove unfinished files that a killed process left; answers how many were removed.

        Call it at start. A file of the inbox that has all its bytes may have been acknowledged before a power cut undid
        its rename. The others were never acknowledged; younger ones may belong to a living process.
        """
        for unfinished in self._inbox.glob(f"*.*.*{durable.UNFINISHED}"):
            digest = unfinished.name.split(".", 1)[0]
            if _is_whole(unfinished, digest):
                told = unfinished.name.removesuffix(durable.UNFINISHED).rpartition(".")[0]
                durable.move(unfinished, self._inbox / f"{told}.dcm")
        durable.sync_folder(self._inbox)
        return sum(durable.sweep(folder, older_than) for folder in (self._inbox, self._results, self._quarantine))

    def _require_free(self, needed_bytes: int) -> None:
        if needed_bytes and shutil.disk_usage(self._inbox).free < needed_bytes:
            raise OutOfResources(f"less than {needed_bytes // 1_000_000} MB are free")

    def _settled(self, digest: str) -> Path:
        return self._instances / digest[:2] / f"{digest}.dcm"

    def _outdated(self, digest: str) -> Path:
        return self._settled(digest).with_suffix(".older")

    def _result(self, sha256: str) -> Path:
        return self._results / sha256[:2] / f"{sha256}.dcm"


def _is_whole(unfinished: Path, digest: str) -> bool:
    try:
        return part10.digest(unfinished.read_bytes()) == digest
    except (InstanceRefused, FileNotFoundError):  # cut short; finished meanwhile by its own process
        return False


def _checked(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise ValueError("not a SHA-256 in lower-case hex")
    return digest


def _name(file: KeptFile) -> str:
    """In the inbox."""
    tenant = f"{_TENANT_MARK}{file.tenant}" if file.tenant != NO_TENANT else ""
    name = f"{file.digest}.{_encode(file.received_from)}{tenant}"
    context = TraceContext.parse(file.traceparent)
    traced = f"{name}.{_encode_trace(context)}.dcm" if context else ""
    # of a sender with a very long name the trace is lost, never the image
    return traced if traced and len(traced) <= _NAME_LIMIT else f"{name}.dcm"


def _sender(name: str) -> tuple[str, str]:
    """Who sent a file of the inbox, and for which tenant."""
    sender, _, tenant = name.split(".")[1].partition(_TENANT_MARK)
    return _decode(sender), tenant


def _traceparent(name: str) -> str | None:
    """The trace context of a file of the inbox."""
    trace = name.split(".")[2]
    if trace == "dcm":
        return None
    told = _bytes(trace)
    found = TraceContext(trace_id=told[:16].hex(), span_id=told[16:24].hex(), sampled=told[24:] == b"1")
    return found.traceparent


def _encode_trace(one: TraceContext) -> str:
    told = bytes.fromhex(one.trace_id + one.span_id) + (b"1" if one.sampled else b"0")
    return base64.urlsafe_b64encode(told).decode().rstrip("=")


def _encode(sender: str) -> str:
    words = sender.encode("ascii", "replace")[:_SENDER_LIMIT]
    return base64.urlsafe_b64encode(words).decode().rstrip("=")


def _decode(encoded: str) -> str:
    return _bytes(encoded).decode("ascii")


def _bytes(encoded: str) -> bytes:
    return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
