"""The door as a real process, and a C-STORE client that sends any bytes, right or wrong."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from services.backends.files import FolderStudyFiles
from services.backends.senders.association import leave_answers_to_us
from tests.support.peers import free_port, listens, wait_until
from tests.support.warm import Program

RUN_DOOR = """
from services.gateway.door import run_door
from services.logs import configure_logging
from services.settings import Settings
configure_logging(Settings().log_level)
run_door(Settings())
"""


@dataclass(frozen=True, kw_only=True)
class Door:
    """A running door."""

    port: int
    data: Path
    process: subprocess.Popen[bytes] | Program

    @property
    def files(self) -> FolderStudyFiles:
        """Its files."""
        return FolderStudyFiles(self.data)

    def quarantined(self) -> int:
        """How many files it has put into quarantine."""
        return len(list((self.data / "quarantine").glob("*.bin")))

    def kill(self) -> None:
        """End it and the processes of its associations at once, as a power cut would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


@contextmanager
def open_door(
    data: Path, *, stderr: IO[bytes] | None = None, under: Sequence[str] = (), first: str = "", **settings: str
) -> Iterator[Door]:
    """Run a door on a free port, as an argument of `under`; `settings` by their names, without VIGIE_.

    first: what the process does before.
    """
    port = free_port()
    values = {"data": str(data), "dicom": f"127.0.0.1:{port}"} | settings
    environment = os.environ | {f"VIGIE_{name.upper()}": value for name, value in values.items()}
    cold = [*under, sys.executable, "-c", first + RUN_DOOR]
    with (
        subprocess.Popen(cold, env=environment, stderr=stderr, start_new_session=True)
        if under or first
        else Program(RUN_DOOR, env=environment, stderr=stderr, start_new_session=True)
    ) as process:
        try:
            wait_until(lambda: listens(port), what="the door listening")
            yield Door(port=port, data=data, process=process)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def associate(
    port: int,
    *,
    sop_classes: Sequence[str] = (CTImageStorage,),
    transfer_syntaxes: Sequence[str] = (ExplicitVRLittleEndian,),
    calling: str = "TEST_SCU",
) -> Iterator[Association]:
    """An established association, one presentation context per SOP class and transfer syntax."""
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
    contexts = [build_context(sop_class, syntax) for sop_class in sop_classes for syntax in transfer_syntaxes]
    association = ae.associate("127.0.0.1", port, contexts=contexts)
    if not association.is_established:
        raise ConnectionError("the association was not accepted")
    leave_answers_to_us(association)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def encode(dataset: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The data set's bytes after group 2 in a native or encapsulated (not deflated) transfer syntax."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = transfer_syntax == "1.2.840.10008.1.2"
    buffer.is_little_endian = transfer_syntax != "1.2.840.10008.1.2.2"
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def store(
    association: Association,
    data_set: bytes,
    *,
    sop_instance_uid: str,
    sop_class_uid: str = CTImageStorage,
    transfer_syntax: str = ExplicitVRLittleEndian,
) -> int | None:
    """Send exactly these bytes as one C-STORE request; answers the status, None when the door went away."""
    context = next(
        one
        for one in association.accepted_contexts
        if one.abstract_syntax == sop_class_uid and one.transfer_syntax[0] == transfer_syntax
    )
    request = C_STORE()
    request.MessageID = 1
    request.Priority = 2
    request.AffectedSOPClassUID = sop_class_uid
    request.AffectedSOPInstanceUID = sop_instance_uid
    request.DataSet = BytesIO(data_set) if data_set else None
    association.dimse.send_msg(request, context.context_id)
    answer = association.dimse.get_msg(block=True)[1]
    return None if answer is None else int(answer.Status)
