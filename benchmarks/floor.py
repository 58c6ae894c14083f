"""The floor of `make bench`: a bare pynetdicom receiver that syncs each file and its folder before it says success."""

import os
import sys
from pathlib import Path

from pynetdicom import AE, _config, evt
from pynetdicom.presentation import VerificationPresentationContexts


def store(event: evt.Event, folder: Path) -> int:
    """Keep one instance: written, synced, its directory entry synced."""
    descriptor = os.open(folder / f"{event.request.AffectedSOPInstanceUID}.dcm", os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, event.encoded_dataset())
    os.fsync(descriptor)
    os.close(descriptor)
    entry = os.open(folder, os.O_RDONLY)
    os.fsync(entry)
    os.close(entry)
    return 0x0000


if __name__ == "__main__":
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    _config.LOG_HANDLER_LEVEL = "none"
    ae = AE()
    ae.maximum_pdu_size = 0
    ae.supported_contexts = VerificationPresentationContexts
    ae.start_server(
        ("127.0.0.1", int(sys.argv[1])), evt_handlers=[(evt.EVT_C_STORE, store, [Path(sys.argv[2])])], block=True
    )
