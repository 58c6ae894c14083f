"""Which tenant a study belongs to, on disk, so that the door knows it without a database.

    tenants/<ab>/<sha256 of the Study Instance UID>   the name of the tenant

A claim is made once, by a hard link, which of several that are made at the same time lets one through. The store has
the last word: what it knows otherwise is corrected here.
"""

import hashlib
from pathlib import Path

from services.backends.files import durable


class Claims:
    """The claims in a folder, which is made with the first. Safe for several processes. `via`: see durable.write."""

    def __init__(self, folder: Path, *, via: Path) -> None:
        self._folder = folder
        self._via = via

    def claim(self, study_instance_uid: str, tenant: str) -> str:
        """See `StudyFiles.claim`."""
        path = self._path(study_instance_uid)
        with durable.as_out_of_resources():
            if not path.exists():
                durable.write_first(tenant.encode(), path, via=self._via)
            return path.read_text()

    def assign(self, study_instance_uid: str, tenant: str) -> None:
        """See `StudyFiles.assign`."""
        durable.replace(tenant.encode(), self._path(study_instance_uid), via=self._via)

    def owner(self, study_instance_uid: str) -> str:
        """Whose a study is; '' for nobody's."""
        path = self._path(study_instance_uid)
        return path.read_text() if path.exists() else ""

    def forget(self, study_instance_uid: str) -> None:
        """See `StudyFiles.disown`."""
        path = self._path(study_instance_uid)
        path.unlink(missing_ok=True)
        if path.parent.exists():
            durable.sync_folder(path.parent)

    def _path(self, study_instance_uid: str) -> Path:
        name = hashlib.sha256(study_instance_uid.encode()).hexdigest()
        return self._folder / name[:2] / name
