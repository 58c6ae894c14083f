"""A message as bytes, the same for every queue: versioned JSON, identifiers only. The trace context goes beside it."""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.triage.errors import DeadLetterError
from services.triage.job import JobMessage, OrderPriority

VERSION: Literal[1] = 1
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)  # W3C Trace Context 3.2


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    v: Literal[1] = VERSION
    job_id: str = Field(min_length=1, max_length=64)
    priority: OrderPriority = Field(strict=False)
    attempt: int = Field(ge=1)


def encode(message: JobMessage) -> str:
    """To JSON, all but the trace context."""
    return _Wire(job_id=message.job_id, priority=message.priority, attempt=message.attempt).model_dump_json()


def decode(content: str | bytes, *, traceparent: object = None) -> JobMessage:
    """From JSON; a field that a newer version added is ignored. Raises DeadLetterError for anything else.

    A trace context that is none is ignored (W3C Trace Context 4.3).
    """
    try:
        wire = _Wire.model_validate_json(content)
    except ValidationError as error:
        raise DeadLetterError(f"not a job message: {error.error_count()} errors") from error
    traced = isinstance(traceparent, str) and _TRACEPARENT.fullmatch(traceparent)
    return JobMessage(
        job_id=wire.job_id,
        priority=wire.priority,
        attempt=wire.attempt,
        traceparent=str(traceparent) if traced else None,
    )
