"""The files of studies, kept safely: what was received, byte for byte."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from services.triage.errors import Reason
from services.triage.tenant import NO_TENANT


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptFile:
    """A Part 10 file that is on disk and will be found again. `digest`: SHA-256 (hex) of its data set after group 2.

    traceparent: W3C trace context of the association or request that brought it; None where the door told none.
    """

    digest: str
    size_bytes: int
    received_from: str
    tenant: str = NO_TENANT
    traceparent: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Deleted:
    """What became of files that were to go. came_again: those that stay, by digest, with the time when they came."""

    size_bytes: int
    came_again: Mapping[str, datetime]


class StudyFiles(Protocol):
    """Keeps received instances and result objects, by digest. File names are digests, never words from the wire."""

    def claim(self, study_instance_uid: str, tenant: str) -> str:
        """Have a study for a tenant, durably, unless another has it; answers whose it is. Raises OutOfResources."""

    def assign(self, study_instance_uid: str, tenant: str) -> None:
        """Have a study for a tenant, whoever had it: the store says so. Raises OutOfResources."""

    def keep(
        self,
        content: bytes,
        *,
        digest: str,
        received_from: str,
        tenant: str = NO_TENANT,
        traceparent: str | None = None,
    ) -> KeptFile:
        """Keep one Part 10 file; when this returns, file and directory entry are on disk (fsync).

        A digest already kept is stored once, and counts as kept now. Of a tenant it is pending again: what the store
        has it may not have of this tenant; and so is one that is outdated. Raises OutOfResources; then nothing is left
        behind.
        """

    def pending(self) -> Iterator[KeptFile]:
        """Files kept but not yet settled (recorded in the store), oldest first; a kill at any moment loses none."""

    def settle(self, digests: Iterable[str], *, tenant: str = NO_TENANT) -> None:
        """The store knows these of a tenant now: they leave `pending`, and stay found by `path`. Idempotent."""

    def outdate(self, digests: Iterable[str]) -> None:
        """The store has a newer content in the place of these: should they come again, it is to know. Idempotent.

        Raises OutOfResources.
        """

    def refuse(self, file: KeptFile, reason: Reason) -> None:
        """The store will not have this: it leaves `pending` for quarantine. Idempotent. Raises OutOfResources."""

    def path(self, digest: str) -> Path:
        """A local file with these bytes, pending or settled. Raises FileNotFoundError."""

    def quarantine(self, content: bytes, *, reason: Reason, received_from: str) -> Path:
        """Keep bytes that could not be understood, with the reason beside them, for a person to look at."""

    def require_room(self) -> None:
        """Raises OutOfResources while there is no room for the objects of a result."""

    def keep_result(self, content: bytes) -> str:
        """Keep a result object (fsync); answers its SHA-256 (hex) over all bytes, the name for `result_path`."""

    def result_path(self, sha256: str) -> Path:
        """A local file with the bytes of a result object. Raises FileNotFoundError."""

    def delete(self, digests: Iterable[str], *, not_newer_than: datetime) -> Deleted:
        """Delete settled files; those that came after that time, or were sent again after it, stay. Idempotent.

        Whoever is answered that an instance is kept (`keep`) while it is deleted finds it kept. Durable on return.
        """

    def erase(self, digests: Iterable[str]) -> int:
        """Delete these, pending or settled, whenever they came; answers how many bytes they had. Idempotent."""

    def erase_results(self, sha256s: Iterable[str]) -> int:
        """Delete result objects; answers how many bytes they had. Idempotent."""

    def size(self, digest: str) -> int:
        """Bytes of a kept file, 0 where it is not there."""

    def settled(self) -> Iterator[str]:
        """Digests of all settled files."""

    def unsettle(self, studies: Mapping[str, str], *, received_from: str) -> None:
        """The store does not know these settled files (digest -> Study Instance UID): they are `pending` again.

        They are of the tenant that has their study; those that are gone are none. Whoever keeps one at this moment
        finds it kept.
        """

    def results(self, *, not_newer_than: datetime) -> Iterator[str]:
        """SHA-256 of each result object that was kept no later than that."""

    def quarantined(self) -> Iterator[Path]:
        """What lies in quarantine; beside each file lies the reason, as JSON."""

    def erase_quarantined(self, paths: Iterable[Path]) -> int:
        """Delete some of it, with the reasons; answers how many bytes. Idempotent."""

    def disown(self, study_instance_uid: str) -> None:
        """The study is nobody's: the next that sends of it has it."""
