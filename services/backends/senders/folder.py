"""ResultSender to a folder: `<folder>/<Study Instance UID>/<SOP Instance UID>.dcm`."""

import re
from collections.abc import Sequence
from pathlib import Path

from pydicom import dcmread

from services.backends.files import durable
from services.triage.errors import DestinationRefused, DestinationUnavailable, OutOfResources

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


class FolderSender:
    """Writes the bytes as they are; a reader of the folder never sees half a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def send(self, files: Sequence[tuple[str, str, Path]]) -> None:
        """See ResultSender: file and directory entry are on disk when this returns."""
        for _, sop_instance_uid, path in files:
            study = str(dcmread(path, specific_tags=["StudyInstanceUID"]).get("StudyInstanceUID", ""))
            if not _UID.fullmatch(study) or not _UID.fullmatch(sop_instance_uid):
                raise DestinationRefused("invalid_uid", "a UID of the object cannot be a file name")
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                durable.write(path.read_bytes(), self._folder / study / f"{sop_instance_uid}.dcm", via=self._folder)
            except (OSError, OutOfResources) as error:
                raise DestinationUnavailable(f"the folder {self._folder} cannot be written") from error
