"""The DICOM listener: C-ECHO and C-STORE (PS3.4 annexes A and B). Success is said once the instance is kept."""

from typing import cast

import structlog
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE

from services.backends.files import FolderStudyFiles
from services.backends.part10 import wrap
from services.gateway.intake import Intake
from services.gateway.scp import Listener
from services.settings import Settings
from services.triage.errors import InstanceRefused, OutOfResources

log = structlog.get_logger(__name__)

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
_GRACE_S = 10.0


def run_door(settings: Settings) -> None:
    """Listen until SIGTERM or SIGINT; blocks. Associations in progress may then end within ten seconds."""
    files = FolderStudyFiles(settings.data, min_free_mb=settings.min_free_mb)
    files.recover()
    intake = Intake(files=files, max_instance_bytes=settings.max_instance_mb * 1_000_000)
    host, port = settings.dicom.rsplit(":", 1)
    ae = AE(ae_title=settings.ae_title)
    ae.maximum_pdu_size = 0  # unlimited
    handlers = [(evt.EVT_C_ECHO, _echo), (evt.EVT_C_STORE, _store, [intake])]
    listener = Listener(
        ae, (host.strip("[]"), int(port)), handlers=handlers, max_associations=settings.max_associations
    )
    log.info("door_open", address=settings.dicom, ae_title=settings.ae_title)
    listener.serve(grace_s=_GRACE_S)
    log.info("door_closed")


def _echo(_event: evt.Event) -> int:
    return SUCCESS


def _store(event: evt.Event, intake: Intake) -> int | Dataset:
    """Answer one C-STORE request (PS3.4 B.2.3)."""
    request = cast(C_STORE, event.request)
    sop_class_uid, sop_instance_uid = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
    calling_ae_title = event.assoc.requestor.ae_title or str(event.assoc.requestor.address)
    content = wrap(
        request.DataSet.getvalue() if request.DataSet else b"",
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        transfer_syntax_uid=event.context.transfer_syntax,
        source_ae_title=calling_ae_title,
    )
    try:
        instance = intake.understand(content, received_from=calling_ae_title)
        intake.keep(
            content,
            instance,
            received_from=calling_ae_title,
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
        )
    except InstanceRefused as refusal:
        return _failure(refusal.status, refusal.reason.text)
    except OutOfResources as error:
        log.warning("out_of_resources", received_from=calling_ae_title, error=str(error))
        return _failure(OUT_OF_RESOURCES, "no space left to keep the instance")
    return SUCCESS


def _failure(status: int, comment: str) -> Dataset:
    answer = Dataset()
    answer.Status = status
    answer.ErrorComment = comment[:64]  # LO
    return answer
