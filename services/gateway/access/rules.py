"""The rules: who may ask what. What no rule names is refused to everybody who has to sign in.

docs/roles.md has the same as a table (`python -m deploy.roles`), and a test asks every route as everybody.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from services.triage.person import Caller, Machine, MachineTask, Person

PUBLIC = (
    "/healthz",
    "/readyz",
    "/metrics",
    "/login",
    "/login/oidc",
    "/login/oidc/callback",
    "/preferences",
    "/static/**",
)
"""Everybody's: nothing of a patient is there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What a rule asks of a person, by a property of theirs, and of a machine, by its task; None: no machine may."""

    of_person: Callable[[Person], bool]
    of_machine: MachineTask | None = None
    of_any_machine: bool = False

    def is_met(self, caller: Caller) -> bool:
        """Whether this caller may."""
        if isinstance(caller, Machine):
            return self.of_any_machine or self.of_machine in caller.may
        return self.of_person(caller)


ANY_PERSON = Need(of_person=lambda who: who.works)
ANYBODY = Need(of_person=lambda _: True, of_any_machine=True)
READS = Need(of_person=lambda who: who.reads)
SEES_PATIENTS = Need(of_person=lambda who: who.sees_patients)
# figures and cases are of all tenants alike
LEARNS = Need(of_person=lambda who: who.learns and not who.tenants)
OBSERVES = Need(of_person=lambda who: who.observes and not who.tenants)
AUDITS = OBSERVES  # the trail is of all tenants
VIEWS = Need(of_person=lambda who: who.sees_patients or who.learns)
LEADS = Need(of_person=lambda who: who.leads)
COMPLETES = Need(of_person=lambda who: who.reads or who.operates)
STORES = Need(of_person=lambda who: who.reads, of_machine=MachineTask.STORE)
RETRIEVES = Need(of_person=lambda who: who.sees_patients, of_machine=MachineTask.RETRIEVE)
REVIEWS = Need(of_person=lambda who: who.reads, of_machine=MachineTask.WORKITEMS)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A path, its methods and its need.

    {name} stands for one segment, /** for all that is below; DICOMWEB for either root, everybody's or a tenant's.
    """

    methods: str
    path: str
    need: Need
    _regex: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_regex", _compiled(self.path))

    def covers(self, method: str, path: str) -> bool:
        """Whether it is about such a request; HEAD is as GET."""
        asked = "GET" if method == "HEAD" else method
        return (self.methods == "*" or asked in self.methods.split()) and self._regex.fullmatch(path) is not None


def _compiled(path: str) -> re.Pattern[str]:
    literal = (
        re.escape(path).replace(r"/\*\*", "(?:/.*)?").replace("DICOMWEB", r"(?:/t/[^/]+)?/(?:dicomweb|dicom\-web)")
    )
    return re.compile(re.sub(r"\\{\w+\\}", "[^/]+", literal), re.DOTALL)


RULES = (
    Rule(methods="GET POST", path="/", need=ANY_PERSON),
    Rule(methods="GET", path="/events", need=ANY_PERSON),
    Rule(methods="POST", path="/views/**", need=ANY_PERSON),
    Rule(methods="GET", path="/studies/{uid}", need=ANY_PERSON),
    Rule(methods="GET", path="/studies/{uid}/key-image/{result_id}", need=SEES_PATIENTS),
    Rule(methods="GET", path="/studies/{uid}/prepared/{result_id}", need=SEES_PATIENTS),
    Rule(methods="GET", path="/studies/{uid}/view/{result_id}", need=SEES_PATIENTS),
    Rule(methods="POST", path="/studies/{uid}/reading", need=READS),
    Rule(methods="POST", path="/studies/{uid}/verdicts", need=READS),
    Rule(methods="POST", path="/studies/{uid}/finished", need=READS),
    Rule(methods="POST", path="/studies/{uid}/assessment", need=READS),
    Rule(methods="GET POST", path="/training/**", need=LEARNS),
    Rule(methods="GET", path="/observatory/**", need=OBSERVES),
    Rule(methods="GET", path="/observatory.csv", need=OBSERVES),
    Rule(methods="GET POST", path="/audit", need=AUDITS),
    Rule(methods="GET", path="/models", need=ANY_PERSON),
    Rule(methods="POST", path="/models/**", need=LEADS),
    Rule(methods="POST", path="/logout", need=ANY_PERSON),
    Rule(methods="GET", path="/api/studies", need=ANY_PERSON),
    Rule(methods="GET", path="/api/studies/{uid}", need=ANY_PERSON),
    Rule(methods="POST", path="/api/studies/{uid}/reading", need=READS),
    Rule(methods="GET POST", path="/api/studies/{uid}/verdicts/**", need=READS),
    Rule(methods="GET", path="/api/studies/{uid}/evidence", need=READS),
    Rule(methods="GET", path="/api/observatory/**", need=OBSERVES),
    Rule(methods="POST", path="/api/studies/{uid}/complete", need=COMPLETES),
    Rule(methods="POST", path="/api/studies/{uid}/analyse", need=LEADS),
    Rule(methods="GET", path="/api/results/{uid}", need=SEES_PATIENTS),
    Rule(methods="POST", path="/api/results/{id}/recall", need=LEADS),
    Rule(methods="GET", path="/api/models", need=ANY_PERSON),
    Rule(methods="POST", path="/api/models/**", need=LEADS),
    Rule(methods="GET", path="/api/recalls/**", need=ANY_PERSON),
    Rule(methods="POST", path="DICOMWEB/studies", need=STORES),
    Rule(methods="POST", path="DICOMWEB/studies/{uid}", need=STORES),
    Rule(methods="*", path="DICOMWEB/workitems/**", need=REVIEWS),
    Rule(methods="*", path="DICOMWEB/subscribers/**", need=REVIEWS),
    Rule(methods="GET", path="DICOMWEB/**", need=RETRIEVES),
    Rule(methods="GET", path="/ohif/**", need=VIEWS),
    Rule(methods="GET", path="/openapi.json", need=ANYBODY),
)

_PUBLIC = tuple(map(_compiled, PUBLIC))


def is_public(path: str) -> bool:
    """Whether nobody has to sign in for it."""
    return any(each.fullmatch(path) for each in _PUBLIC)


@lru_cache(maxsize=4096)
def rule_for(method: str, path: str) -> Rule | None:
    """The first rule about such a request."""
    return next((rule for rule in RULES if rule.covers(method, path)), None)
