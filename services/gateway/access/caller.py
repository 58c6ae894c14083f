"""Who asks: found by the middleware before a request reaches any endpoint, and read from it here."""

from starlette.requests import HTTPConnection
from starlette.types import Scope

from services.triage.person import EVERY_ROLE, Caller, Machine, Person

LOCAL = Person(name="local", roles=EVERY_ROLE)
"""Whoever reaches a desk that knows nobody: it is served on a trusted network only."""

_KEY = "vigie.caller"


def put(scope: Scope, caller: Caller) -> None:
    """Who asks, for all that comes after."""
    scope[_KEY] = caller


def take_away(scope: Scope) -> None:
    """Whoever asked has signed out: the page that says so greets nobody."""
    scope.pop(_KEY, None)


def caller_of(request: HTTPConnection) -> Caller | None:
    """None on the few paths that are everybody's, where nobody is signed in."""
    found: Caller | None = request.scope.get(_KEY)
    return found


def person_of(request: HTTPConnection) -> Person | None:
    """The same, unless it is a machine."""
    found = caller_of(request)
    return None if isinstance(found, Machine) else found


def actor_of(request: HTTPConnection, nobody: str) -> str:
    """The name that stands in a history; nobody: where nobody has to sign in, and a request tells nothing."""
    found = caller_of(request)
    return nobody if found is None or found is LOCAL else found.name
