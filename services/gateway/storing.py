"""One instance by C-STORE, whoever opened the association: kept before it is answered (PS3.4 B.2.3)."""

from typing import cast

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.dimse_primitives import C_STORE

from services.backends.part10 import wrap
from services.gateway.audit.importing import Imports
from services.gateway.intake import Intake
from services.gateway.reception import Reception
from services.triage.errors import InstanceRefused, OutOfResources
from services.triage.tenant import NO_TENANT

log = structlog.get_logger(__name__)

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700


def take_in(
    event: evt.Event,
    intake: Intake,
    reception: Reception,
    *,
    received_from: str,
    tenant: str = NO_TENANT,
    imports: Imports,
) -> int | Dataset:
    """Keep the instance of a C-STORE request for a tenant; answers its status."""
    request = cast(C_STORE, event.request)
    sop_class_uid, sop_instance_uid = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
    content = wrap(
        request.DataSet.getvalue() if request.DataSet else b"",
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        transfer_syntax_uid=event.context.transfer_syntax,
        source_ae_title=received_from,
    )
    instance = None
    try:
        instance = intake.understand(content, received_from=received_from)
        imports.begins(instance)
        intake.keep(
            content,
            instance,
            received_from=received_from,
            reception=reception,
            tenant=tenant,
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
        )
    except InstanceRefused as refusal:
        imports.failed(instance, refusal.reason.code)
        return failure(refusal.status, refusal.reason.text)
    except OutOfResources as error:
        log.warning("out_of_resources", received_from=received_from, error=str(error))
        imports.failed(instance, error.reason.code)
        return failure(OUT_OF_RESOURCES, "no space left to keep the instance")
    imports.kept(instance)
    return SUCCESS


def failure(status: int, comment: str) -> Dataset:
    """A status with its Error Comment (0000,0902)."""
    answer = Dataset()
    answer.Status = status
    answer.ErrorComment = comment[:64]  # LO
    return answer
