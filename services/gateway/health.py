"""Probes: is the process alive, and can it do its work."""

import shutil
import tempfile
from pathlib import Path
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from services.gateway.desk import Desk, TheDesk
from services.gateway.schemas import CheckOut, ReadinessOut
from services.triage.errors import StoreUnavailable

# Room for one large study (a CT of 1,000 slices) that is on its way in.
FREE_MB_NEEDED = 512

router = APIRouter(tags=["operations"])


class AliveOut(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


@router.get("/healthz", summary="Liveness: the process answers", response_model=AliveOut)
async def healthz() -> AliveOut:
    """Asks nothing of disk or database: a restart would not bring those back."""
    return AliveOut()


@router.get(
    "/readyz",
    summary="Readiness: the store answers, the data folder takes writes",
    response_model=ReadinessOut,
    responses={503: {"model": ReadinessOut, "description": "Not ready; each failed check says why."}},
)
def readyz(desk: TheDesk, response: Response) -> ReadinessOut:
    """Says of each check whether it holds, and if not, why and what to do."""
    checks = [_check_store(desk), check_data_folder(desk.settings.data)]
    ready = all(check.ok for check in checks)
    response.status_code = 200 if ready else 503
    return ReadinessOut(ready=ready, checks=checks)


def _check_store(desk: Desk) -> CheckOut:
    try:
        # one look-up in an index: the cheapest question
        desk.store.board.result_object("0")
    except StoreUnavailable:
        return CheckOut(name="store", ok=False, cause="the database does not answer: look at its server and its URL")
    return CheckOut(name="store", ok=True)


def check_data_folder(folder: Path, *, free_mb_needed: int = FREE_MB_NEEDED) -> CheckOut:
    """Whether the data folder takes writes and has room; the cause names no path, since the probe is public."""
    name = "data_folder"
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"vigie")
        free_mb = shutil.disk_usage(folder).free // 1_000_000
    except OSError as error:
        return CheckOut(name=name, ok=False, cause=f"cannot be written: {error.strerror}; mend folder or permissions")
    if free_mb < free_mb_needed:
        return CheckOut(name=name, ok=False, cause=f"{free_mb} MB free, {free_mb_needed} MB needed: free some space")
    return CheckOut(name=name, ok=True)
