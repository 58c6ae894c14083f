"""Probes: is the process alive, and can it do its work."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from services.gateway.schemas import CheckOut, ReadinessOut

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
    summary="Readiness, and all that holds studies up: database and its tables, data folder, queue, workers",
    response_model=ReadinessOut,
    responses={503: {"model": ReadinessOut, "description": "Not ready: an essential check fails; each says why."}},
)
def readyz(request: Request, response: Response) -> ReadinessOut:
    """Says of each check whether it holds, and if not, why and what to do.

    A desk waits for `vigie db upgrade`. A door with a full disk or no database stays in service: it tells senders so,
    instead of being silent.
    """
    found: list[CheckOut] = request.app.state.checks.get()
    ready = all(check.ok for check in found if check.essential)
    response.status_code = 200 if ready else 503
    return ReadinessOut(ready=ready, checks=found)
