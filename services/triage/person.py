"""Who sits before the desk, and what their part in it lets them see and do; and the machines that ask it."""

from dataclasses import dataclass
from enum import StrEnum


class PersonRole(StrEnum):
    """reader: reads studies. lead: also answers for the AI at the site. ops: keeps it running. auditor: looks on.

    learner: trains on studies without patient identity, and sees no others.
    """

    READER = "reader"
    LEAD = "lead"
    OPS = "ops"
    AUDITOR = "auditor"
    LEARNER = "learner"


class MachineTask(StrEnum):
    """store: send images (STOW-RS). retrieve: search and retrieve (QIDO-RS, WADO-RS). workitems: reviews (UPS-RS)."""

    STORE = "store"
    RETRIEVE = "retrieve"
    WORKITEMS = "workitems"


EVERY_ROLE = frozenset(PersonRole)


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """A person, by the name that stands in histories and documents.

    display_name: as pages greet them; '' : the name. tenants: whose studies they see; none: everybody's.
    """

    name: str
    roles: frozenset[PersonRole]
    display_name: str = ""
    tenants: frozenset[str] = frozenset()

    @property
    def shown_name(self) -> str:
        """For pages."""
        return self.display_name or self.name

    @property
    def works(self) -> bool:
        """Whether they have a part in the work, and do not only learn."""
        return bool(self.roles - {PersonRole.LEARNER})

    @property
    def sees_patients(self) -> bool:
        """Whether names, IDs, birth dates and images of patients are shown to them."""
        return bool(self.roles & {PersonRole.READER, PersonRole.LEAD})

    @property
    def reads(self) -> bool:
        """Whether they take studies and give verdicts."""
        return self.sees_patients

    @property
    def learns(self) -> bool:
        """Whether they may train on studies that others have answered."""
        return self.reads or PersonRole.LEARNER in self.roles

    @property
    def leads(self) -> bool:
        """Whether they switch models off, recall results and have studies analysed again."""
        return PersonRole.LEAD in self.roles

    @property
    def operates(self) -> bool:
        """Whether they keep studies flowing: complete one by hand, look after deliveries."""
        return bool(self.roles & {PersonRole.LEAD, PersonRole.OPS})

    @property
    def observes(self) -> bool:
        """Whether they see how well the AI does, in numbers."""
        return bool(self.roles & {PersonRole.LEAD, PersonRole.AUDITOR})


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """A PACS, a RIS, a viewer or a modality, and what it may do. tenants: as of `Person`."""

    name: str
    may: frozenset[MachineTask]
    tenants: frozenset[str] = frozenset()


Caller = Person | Machine
"""Whoever asks."""
