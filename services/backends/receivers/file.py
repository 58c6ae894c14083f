"""The receivers in force: those of the file that VIGIE_NOTIFICATIONS names (deploy/notifications.toml explains it)."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from services.backends.receivers.tables import FhirTable, Hl7Table, WebhookTable
from services.backends.senders import routes, tenants_in_force
from services.backends.senders.link import Link
from services.backends.senders.routes import serving
from services.backends.senders.toml_file import read_tables, told
from services.settings import Settings
from services.triage.errors import DestinationsRefused
from services.triage.result import Destination

_Table = Hl7Table | FhirTable | WebhookTable
_READER: TypeAdapter[_Table] = TypeAdapter(Annotated[_Table, Field(discriminator="kind")])


@dataclass(frozen=True, kw_only=True, slots=True)
class Receiver:
    """Somebody who is told of results, and how."""

    destination: Destination
    table: _Table
    link: Link


def receivers(settings: Settings) -> tuple[Receiver, ...]:
    """Every receiver in force.

    Raises DestinationsRefused: unreadable_notifications (no such file, not TOML), invalid_notifications (the text names
    file, receiver and field).
    """
    path = settings.notifications
    if path is None:
        return ()
    try:
        content = read_tables(path)
    except (OSError, ValueError) as error:
        raise DestinationsRefused("unreadable_notifications", f"{path}: {error}") from error
    taken = {route.destination.name for route in routes(settings)}
    found = (_receiver(path, name, table, taken) for name, table in content.items())
    tenants = tenants_in_force(settings)
    return tuple(replace(one, destination=serving(one.destination, tenants)) for one in found)


def _receiver(path: Path, name: str, content: Any, taken: set[str]) -> Receiver:
    if not isinstance(content, dict):
        raise _refused(path, name, f"it is no table: begin it with [{name}]")
    if name in taken:
        raise _refused(path, name, "a destination of results has this name")
    try:
        table = _READER.validate_python(content)
    except ValidationError as error:
        raise _refused(path, name, told(error)) from error
    return Receiver(
        destination=Destination(
            name=name, kind=table.kind, address=table.address, objects=frozenset(), told_of=table.tell
        ),
        table=table,
        link=table.connection(path.parent),
    )


def _refused(path: Path, name: str, told: str) -> DestinationsRefused:
    return DestinationsRefused("invalid_notifications", f"{path}: receiver '{name}': {told}")
