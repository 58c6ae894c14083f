"""What a snapshot is, and which files it has."""

import gzip
import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from services.triage.errors import BackupRefused

FILES, SNAPSHOTS = "files", "snapshots"
_MANIFEST, _LIST = "manifest.json", "files.txt.gz"


class Manifest(BaseModel):
    """revision: of the database. erased: studies that were erased on request until then; a restore erases them anew."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = 1
    made_at: datetime
    version: str
    revision: str
    database: str
    database_sha256: str
    list_sha256: str
    file_count: int
    size_bytes: int
    erased: tuple[str, ...] = ()


class Snapshot:
    """A folder below snapshots/. Raises BackupRefused (not_a_backup, damaged)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.manifest = Manifest.model_validate_json((folder / _MANIFEST).read_bytes())
        except (OSError, ValidationError) as error:
            raise BackupRefused("not_a_backup", f"{folder} has no manifest that can be read") from error

    @property
    def name(self) -> str:
        """The time at which it was made."""
        return self.folder.name

    @property
    def database(self) -> Path:
        """The copy of the database."""
        return self.folder / self.manifest.database

    def files(self) -> Iterator[tuple[str, int]]:
        """Path below files/, and size."""
        with gzip.open(self.folder / _LIST, "rt", encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                size, _, path = line.rstrip("\n").partition(" ")
                yield path, int(size)

    def check(self) -> None:
        """Raises BackupRefused (damaged): database or list are not those that were written."""
        told = {self.database: self.manifest.database_sha256, self.folder / _LIST: self.manifest.list_sha256}
        for path, sha256 in told.items():
            if not path.exists() or sha256_of(path) != sha256:
                raise BackupRefused("damaged", f"{path} is missing or damaged")


def folders(backup: Path) -> list[Path]:
    """Of all snapshots, oldest first, whether or not they can be read."""
    return sorted((backup / SNAPSHOTS).glob("[0-9]*Z"))


def snapshots(backup: Path) -> tuple[list[Snapshot], list[str]]:
    """All that can be read, oldest first; and what is wrong with the others."""
    found, unreadable = [], []
    for folder in folders(backup):
        try:
            found.append(Snapshot(folder))
        except BackupRefused as error:
            unreadable.append(error.reason.text)
    return found, unreadable


def snapshot(backup: Path, name: str | None) -> Snapshot:
    """One by its name, or the newest that can be read. Raises BackupRefused."""
    for folder in folders(backup):
        if folder.name == name:
            return Snapshot(folder)
    found, _ = snapshots(backup)
    if name is not None or not found:
        told = f"snapshot {name}" if name else "snapshot that can be read"
        raise BackupRefused("not_a_backup", f"{backup} has no {told}")
    return found[-1]


def write_list(folder: Path, files: Iterable[tuple[str, int]]) -> str:
    """Write which files a snapshot has; answers the SHA-256 of the list."""
    with gzip.open(folder / _LIST, "wt", encoding="utf-8", errors="surrogateescape") as lines:
        lines.writelines(f"{size} {path}\n" for path, size in files)
    return sha256_of(folder / _LIST)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write what a snapshot is, the last of its files."""
    (folder / _MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def sha256_of(path: Path) -> str:
    """Of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
