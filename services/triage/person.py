"""Who sits before the desk, and what their part in it lets them see and do."""

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


EVERY_ROLE = frozenset(PersonRole)


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """A person, by the name that stands in histories and documents."""

    name: str
    roles: frozenset[PersonRole]

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
    def observes(self) -> bool:
        """Whether they see how well the AI does, in numbers."""
        return bool(self.roles & {PersonRole.LEAD, PersonRole.AUDITOR})
