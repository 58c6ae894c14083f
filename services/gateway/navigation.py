"""The places of the desk that its header leads to."""

from collections.abc import Callable
from dataclasses import dataclass

from services.gateway.language import noted
from services.gateway.language import translated as _
from services.triage.person import Person


@dataclass(frozen=True, kw_only=True, slots=True)
class NavItem:
    """A link of the header. may: who sees it."""

    path: str
    words: str
    may: Callable[[Person], bool] = lambda _person: True

    @property
    def text(self) -> str:
        """Its words in the language of the request."""
        return _(self.words)


NAV_ITEMS: list[NavItem] = [
    NavItem(path="/", words=noted("Work list"), may=lambda who: who.works),
    NavItem(path="/training", words=noted("Training"), may=lambda who: who.learns and not who.tenants),
    NavItem(path="/models", words=noted("Models"), may=lambda who: who.works),
    NavItem(path="/observatory", words=noted("Observatory"), may=lambda who: who.observes and not who.tenants),
    NavItem(path="/audit", words=noted("Audit"), may=lambda who: who.observes and not who.tenants),
]
"""In their order."""


def nav_items(person: Person | None) -> list[NavItem]:
    """What a person may go to; None, whom nobody knows yet, to what everybody may."""
    nobody = Person(name="", roles=frozenset())
    return [item for item in NAV_ITEMS if item.may(person or nobody)]


def home_of(person: Person | None) -> NavItem:
    """Where a person begins: the first of the places that they may go to, the list where there is none."""
    return next(iter(nav_items(person)), NAV_ITEMS[0])
