"""Settled files that the store does not know: its database was put back to a point before they came.

They were acknowledged, and a resend would not bring them back: what is settled is not written again, and only what is
pending is recorded. A file is settled after the commit that records it, so that one which is found and then not known
is none that is just being recorded.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from pathlib import Path

from services.backends.headers import read_instance
from services.backends.store import SqlStudyStore
from services.triage.errors import InstanceRefused
from services.triage.ports import StudyFiles

SENDER = "restored"
_PAGE = 1000


class Left(StrEnum):
    """Why a file is not to be recorded, in words."""

    DAMAGED = "not the bytes that were kept"
    """where the dispatcher saw that, they are in quarantine"""
    ERASED = "of a study that was erased after it came"
    """or whose record was deleted: from an older copy of the files"""


@dataclass(frozen=True, kw_only=True, slots=True)
class UnknownFile:
    """left: None: it is to be recorded. study_instance_uid: empty where that cannot be read."""

    digest: str
    path: Path
    study_instance_uid: str
    left: Left | None


def unknown_files(store: SqlStudyStore, files: StudyFiles) -> Iterator[tuple[int, list[UnknownFile]]]:
    """All settled files in pages: how many there were, and those that the store does not know.

    Nobody else may delete files meanwhile. Raises StoreUnavailable, OSError.
    """
    erased = store.restored.erased_at()
    settled = files.settled()
    while page := list(islice(settled, _PAGE)):
        looked_at = (_looked_at(digest, files, erased) for digest in sorted(store.restored.unknown(page)))
        yield len(page), [one for one in looked_at if one is not None]


def have_recorded(files: StudyFiles, unknown: Collection[UnknownFile]) -> None:
    """Have those that are to be recorded wait for the dispatcher."""
    studies = {one.digest: one.study_instance_uid for one in unknown if one.left is None}
    if studies:
        files.unsettle(studies, received_from=SENDER)


def _looked_at(digest: str, files: StudyFiles, erased: dict[str, datetime]) -> UnknownFile | None:
    """None: it has gone meanwhile."""
    try:
        path = files.path(digest)
        kept_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        instance = read_instance(path)
    except FileNotFoundError:
        return None
    except InstanceRefused:
        return UnknownFile(digest=digest, path=path, study_instance_uid="", left=Left.DAMAGED)
    uid = instance.header.study_instance_uid
    left = Left.DAMAGED if instance.digest != digest else None
    if left is None and uid in erased and kept_at <= erased[uid]:
        left = Left.ERASED
    return UnknownFile(digest=digest, path=path, study_instance_uid=uid, left=left)
