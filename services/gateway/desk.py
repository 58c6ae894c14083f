"""What the endpoints share: the store, the files, the settings and the clock, found through the request."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends, Path, Request

from services.backends.store import SqlStudyStore
from services.backends.store.sight import Sight
from services.gateway.access.caller import LOCAL, caller_of
from services.gateway.language import noted
from services.gateway.prepared import Prepared
from services.gateway.problems import ProblemError
from services.gateway.role import Role
from services.settings import Settings
from services.triage.person import Person
from services.triage.ports import StudyFiles
from services.triage.tenant import NO_TENANTS, Tenants

if TYPE_CHECKING:
    from services.gateway.dicomweb.stored import StoredFile


@dataclass(frozen=True, kw_only=True, slots=True)
class Desk:
    """All that an endpoint may use. `clock` answers the time in UTC. stored_as: how DICOMweb reads an instance.

    prepared: answers that were made already.
    """

    settings: Settings
    store: SqlStudyStore
    files: StudyFiles
    role: Role
    clock: Callable[[], datetime]
    tenants: Tenants = NO_TENANTS
    stored_as: "type[StoredFile] | None" = None
    prepared: Prepared = field(default_factory=Prepared)


def the_desk(request: Request) -> Desk:
    """That of the application, as whoever asks may see it."""
    desk = cast(Desk, request.app.state.desk)
    caller = caller_of(request)
    if caller is None or caller is LOCAL:
        return desk
    hidden = isinstance(caller, Person) and not caller.sees_patients
    sight = Sight(
        tenants=caller.tenants or None,
        pseudonyms=desk.store.sessions.secret("pseudonyms").encode() if hidden else b"",
    )
    tenants = desk.tenants
    if caller.tenants:
        theirs = tuple(one for one in tenants.tenants if one.name in caller.tenants)
        tenants = Tenants(tenants=theirs, earlier=tenants.earlier)
    return replace(desk, store=desk.store.seen_by(sight), tenants=tenants)


TheDesk = Annotated[Desk, Depends(the_desk)]

UidInPath = Annotated[str, Path(pattern=r"^[0-9.]{1,64}$", description="A DICOM UID (PS3.5 9.1).")]

PAGE_SIZE = 100
PAGE_LIMIT = 500


def unknown_study() -> ProblemError:
    """The answer to a Study Instance UID of which nothing was kept."""
    return ProblemError(
        404,
        "unknown_study",
        noted("Unknown study"),
        detail=noted("No instance of this study was kept."),
        way_out=noted("Check the Study Instance UID, or send the study by C-STORE or STOW-RS."),
    )
