"""The disk of the data folder: small, so that it can be filled. Only root may mount one."""

import os
import subprocess
from pathlib import Path

CAN_BE_FILLED = os.geteuid() == 0


class Disk:
    """A tmpfs when root, else a plain folder that cannot be filled."""

    def __init__(self, folder: Path, *, size_mb: int) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"
        folder.mkdir(parents=True)
        if CAN_BE_FILLED:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder)], check=True)

    def fill(self) -> None:
        """Leave no room at all."""
        with self._ballast.open("wb") as ballast:
            while room := os.statvfs(self.folder).f_bavail * os.statvfs(self.folder).f_frsize:
                try:
                    os.posix_fallocate(ballast.fileno(), ballast.tell(), room)
                    ballast.seek(room, os.SEEK_CUR)
                except OSError:  # someone else was faster: look again how much is left
                    continue

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)

    def remove(self) -> None:
        """Unmount it."""
        if CAN_BE_FILLED:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=False)
