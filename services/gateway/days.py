"""Days and moments as a caller writes them (RFC 3339); pydantic alone would take a number for seconds since 1970."""

from datetime import date
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator


def _no_number(value: Any) -> Any:
    is_number = isinstance(value, int | float) or (isinstance(value, str) and "-" not in value[1:])
    if is_number:
        raise ValueError("it is written as 2026-01-31, a moment as 2026-01-31T08:30:00Z")
    return value


Day = Annotated[date, BeforeValidator(_no_number)]
Moment = Annotated[AwareDatetime, BeforeValidator(_no_number)]
