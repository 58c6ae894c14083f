"""Who asks, and what they may see and do: dependencies of the endpoints."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends

from services.gateway.language import noted
from services.gateway.problems import ProblemError
from services.triage.person import EVERY_ROLE, Person

LOCAL = Person(name="local", roles=EVERY_ROLE)
"""Whoever reaches a desk that knows nobody: it is served on a trusted network only."""


def current_person() -> Person:
    """Who asks."""
    return LOCAL


ThePerson = Annotated[Person, Depends(current_person)]


def only(may: Callable[[Person], bool]) -> Callable[[Person], Person]:
    """A dependency that lets through whom a property of `Person` allows: `Depends(only(lambda who: who.leads))`."""

    def checked(person: ThePerson) -> Person:
        if not may(person):
            raise ProblemError(
                403,
                "not_your_part",
                noted("Not your part"),
                detail=noted("None of your roles lets you see or do this."),
                way_out=noted("Ask whoever gives out the roles at your site."),
            )
        return person

    return checked
