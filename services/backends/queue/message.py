"""A message as bytes, the same for every queue: versioned JSON, identifiers only."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.triage.errors import DeadLetterError
from services.triage.job import JobMessage, OrderPriority


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    v: Literal[1] = 1
    job_id: str = Field(min_length=1, max_length=64)
    priority: OrderPriority = Field(strict=False)
    attempt: int = Field(ge=1)


def encode(message: JobMessage) -> str:
    """To JSON."""
    return _Wire(job_id=message.job_id, priority=message.priority, attempt=message.attempt).model_dump_json()


def decode(content: str | bytes) -> JobMessage:
    """From JSON; a field that a newer version added is ignored. Raises DeadLetterError for anything else."""
    try:
        wire = _Wire.model_validate_json(content)
    except ValidationError as error:
        raise DeadLetterError(f"not a job message: {error.error_count()} errors") from error
    return JobMessage(job_id=wire.job_id, priority=wire.priority, attempt=wire.attempt)
