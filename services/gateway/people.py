"""Who asks, and what they may see and do: dependencies of the endpoints."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request

from services.gateway.access.caller import caller_of
from services.gateway.access.middleware import NOT_YOUR_PART
from services.gateway.problems import ProblemError
from services.triage.person import Person


def current_person(request: Request) -> Person:
    """Who asks. Raises ProblemError (403) where it is a machine, or nobody who is known."""
    caller = caller_of(request)
    if not isinstance(caller, Person):
        raise not_your_part()
    return caller


ThePerson = Annotated[Person, Depends(current_person)]


def only(may: Callable[[Person], bool]) -> Callable[[Person], Person]:
    """A dependency that lets through whom a property of `Person` allows: `Depends(only(lambda who: who.leads))`."""

    def checked(person: ThePerson) -> Person:
        if not may(person):
            raise not_your_part()
        return person

    return checked


def not_your_part() -> ProblemError:
    """The answer to who may not see or do this."""
    told = NOT_YOUR_PART
    return ProblemError(told.status, told.code, told.title, detail=told.detail, way_out=told.way_out)
