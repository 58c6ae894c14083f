"""The entries of a FHIR transaction: each resource found by its identifier, and the values that they are made of."""

from typing import Any
from urllib.parse import quote
from uuid import NAMESPACE_OID, uuid5

from services.backends.receivers.source import date_of

Resource = dict[str, Any]
_UIDS = "urn:dicom:uid"  # PS3.20 and FHIR: the value is urn:oid:UID
_ESCAPES = str.maketrans({character: f"\\{character}" for character in "\\,$|"})


def create(resource: Resource) -> Resource:
    """Where there is none with its identifier."""
    kind, wanted = resource["resourceType"], search(resource)
    return _entry(resource, {"method": "POST", "url": kind, "ifNoneExist": wanted})


def update(resource: Resource) -> Resource:
    """Whether there is one with its identifier, or not."""
    return _entry(resource, {"method": "PUT", "url": f"{resource['resourceType']}?{search(resource)}"})


def change(held: Resource, server: str) -> Resource:
    """What the server holds, in a new form; refused there where somebody wrote it since it was read."""
    url, version = f"{held['resourceType']}/{held['id']}", held.get("meta", {}).get("versionId")
    only_if = {"ifMatch": f'W/"{version}"'} if version else {}
    return {"fullUrl": f"{server}/{url}", "resource": held, "request": {"method": "PUT", "url": url, **only_if}}


def _entry(resource: Resource, request: Resource) -> Resource:
    return {"fullUrl": _full_url(resource), "resource": resource, "request": request}


def search(resource: Resource) -> str:
    """The query by its identifier, with what a search takes for delimiters escaped (FHIR R4B 3.1.1.4.0.1)."""
    system, value = (resource["identifier"][0][key].translate(_ESCAPES) for key in ("system", "value"))
    return f"identifier={quote(f'{system}|{value}', safe='|:/')}"


def reference(resource: Resource) -> Resource:
    """To a resource of the same transaction."""
    return {"reference": _full_url(resource)}


def _full_url(resource: Resource) -> str:
    return f"urn:uuid:{uuid5(NAMESPACE_OID, resource['resourceType'] + search(resource))}"


def dicom_uid(uid: str) -> Resource:
    """An identifier."""
    return {"system": _UIDS, "value": f"urn:oid:{uid}"}


def day(text: str) -> str | None:
    """A DICOM date as FHIR writes it. Without the time: its zone is not known."""
    date = date_of(text)
    return date.isoformat() if date else None


def unsigned(number: int | None) -> int | None:
    """A number that FHIR may hold, or none."""
    return number if number is not None and number >= 0 else None


def without_empty(value: Any) -> Any:
    """FHIR has no empty or blank strings, no empty lists and objects."""
    if isinstance(value, dict):
        return {key: kept for key, each in value.items() if (kept := without_empty(each)) not in (None, "", [], {})}
    if isinstance(value, list):
        return [without_empty(each) for each in value]
    return value.strip() if isinstance(value, str) else value
