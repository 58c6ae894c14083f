"""An application as one person meets it."""

from starlette.types import ASGIApp, Receive, Scope, Send

from services.gateway.access.caller import put
from services.triage.person import Person


def as_person(app: ASGIApp, person: Person) -> ASGIApp:
    """The same application; whoever asks is this person."""

    async def asked(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            put(scope, person)
        await app(scope, receive, send)

    return asked
