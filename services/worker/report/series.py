"""The series that a result object opens: its number, its description, who made it and when."""

import re
from datetime import datetime, timedelta, timezone, tzinfo
from enum import Enum
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from pydicom import Dataset
from pydicom.uid import generate_uid

from services import __version__
from services.triage.completeness import OWN_MANUFACTURER
from services.triage.model import Model

LONG_STRING = 64
WESTERNMOST, EASTERNMOST = timedelta(hours=-12), timedelta(hours=14)  # PS3.3 C.12.1.1.8


class Kind(Enum):
    """A kind of result object, with the Series Number that all of its kind have, far above any scanner's."""

    SEG = 91000
    SR = 92000
    GSPS = 94000
    SC = 95000
    KOS = 96000

    @property
    def description(self) -> str:
        """The word by which a hanging protocol tells the kinds apart."""
        return self.name


def new_series(kind: Kind, model: Model, header: Dataset, now: datetime) -> dict[str, Any]:
    """What highdicom's constructors ask of a new series with one instance, with fresh UIDs.

    The serial number of the 'device' is the digest of the weights.
    """
    date, time = local_moment(header, now)
    identity = model.identity
    return {
        "series_instance_uid": generate_uid(prefix=None),
        "series_number": kind.value,
        "series_description": f"Vigie {kind.description} {identity.name} {identity.version}"[:LONG_STRING],
        "series_date": date,
        "series_time": time,
        "content_date": date,
        "content_time": time,
        "sop_instance_uid": generate_uid(prefix=None),
        "instance_number": 1,
        "manufacturer": OWN_MANUFACTURER,
        "manufacturer_model_name": identity.name,
        "device_serial_number": identity.weights_sha256,
        "software_versions": __version__,
    }


def instance_of(series: dict[str, Any], number: int) -> dict[str, Any]:
    """The same for another instance of that series; its UID is fresh."""
    return series | {"sop_instance_uid": generate_uid(prefix=None), "instance_number": number}


def local_moment(header: Dataset, now: datetime) -> tuple[str, str]:
    """Date (DA) and time (TM) in the time zone of the source where it names one, else in that of this machine."""
    local = now.astimezone(_zone(header))
    return local.strftime("%Y%m%d"), local.strftime("%H%M%S")


def _zone(header: Dataset) -> tzinfo | None:
    offset = re.fullmatch(r"([+-])(\d{2})([0-5]\d)", str(header.get("TimezoneOffsetFromUTC", "")).strip())
    if offset is None:
        return None
    sign, hours, minutes = offset.groups()
    east = (1 if sign == "+" else -1) * timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(east) if WESTERNMOST <= east <= EASTERNMOST else None


def device_uid(model: Model) -> str:
    """The UID of the 'device' that observed: the same for the same software, model and weights."""
    identity = model.identity
    name = f"vigie {__version__} {identity.name} {identity.version} {identity.weights_sha256}"
    return f"2.25.{uuid5(NAMESPACE_OID, name).int}"
