"""Where received instances and result objects lie: a folder (a local disk or a shared volume)."""

from services.backends.files.folder import FolderStudyFiles

__all__ = ["FolderStudyFiles"]
