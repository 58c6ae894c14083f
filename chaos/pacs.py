"""The destination: a receiver that says success once the object is on its disk, and overwrites nothing.

    python -m chaos.pacs FOLDER PORT

Each object lies in the folder as <SOP Instance UID>.<SHA-256 of its data set, 16 digits>.dcm: the same object sent
again is the same file, another content under the same UID is a second file.
"""

import sys
from pathlib import Path
from typing import cast

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from services.backends import part10
from services.backends.files import durable

AE_TITLE = "PACS"


def run(folder: Path, port: int) -> None:
    """Listen until killed."""
    ae = AE(ae_title=AE_TITLE)
    ae.supported_contexts = AllStoragePresentationContexts
    ae.add_supported_context(Verification)
    ae.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, _store, [folder])])


def _store(event: evt.Event, folder: Path) -> int:
    content = event.encoded_dataset()
    name = f"{cast(C_STORE, event.request).AffectedSOPInstanceUID}.{part10.digest(content)[:16]}.dcm"
    durable.write(content, folder / name, via=folder)
    return 0x0000


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
