"""Tenants: the hospitals that one Vigie serves and keeps apart."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from services.triage.errors import Reason
from services.triage.study import StudyAttributes

NO_TENANT = ""
"""Of every study where no tenants are set up."""

OTHER_TENANT = Reason(code="other_tenant", text="the study belongs to another tenant; ask the operator to move it")
"""Why an instance is not taken. 64 characters: it is the Error Comment (0000,0902) of a C-STORE response."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tenant:
    """One hospital. Its associations call one of the called AE titles, from one of the calling ones; none: from any.

    issuer_of_patient_id: of images that have a PatientID and no issuer. destinations: the names of those that its
    results go to. stow: whether it may send by STOW-RS.
    """

    name: str
    called_ae_titles: frozenset[str] = frozenset()
    calling_ae_titles: frozenset[str] = frozenset()
    issuer_of_patient_id: str = ""
    destinations: frozenset[str] = frozenset()
    stow: bool = False

    def is_called(self, called: str) -> bool:
        """Whether an association with this called AE title may be the tenant's."""
        return bool(self.called_ae_titles or self.calling_ae_titles) and _in(called, self.called_ae_titles)

    def sends(self, called: str, calling: str) -> bool:
        """Whether an association with these AE titles is the tenant's."""
        return self.is_called(called) and _in(calling, self.calling_ae_titles)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tenants:
    """All tenants in force; none: nothing is kept apart. No association is of two of them.

    earlier: whose the studies are that came when there were no tenants.
    """

    tenants: tuple[Tenant, ...] = ()
    earlier: str = NO_TENANT

    def __bool__(self) -> bool:
        return bool(self.tenants)

    def named(self, name: str) -> Tenant | None:
        """The tenant of a name."""
        return next((one for one in self.tenants if one.name == name), None)

    def sender(self, called: str, calling: str) -> Tenant | None:
        """Whose an association is, by its AE titles (PS3.8 7.1.1)."""
        return next((one for one in self.tenants if one.sends(called, calling)), None)

    def owner(self, kept_for: str) -> Tenant | None:
        """Whose a kept instance is, by the name that it was kept with; None: nobody's.

        A tenant that is no longer in the file is still kept apart from the others.
        """
        name = kept_for or self.earlier
        return (self.named(name) or Tenant(name=name)) if name != NO_TENANT else None


NO_TENANTS = Tenants()


def with_issuer(study: StudyAttributes, issuer: str) -> StudyAttributes:
    """The attributes as a tenant means them: an issuer that is left out is its own (PS3.3 C.7.1.1)."""
    is_left_out = bool(study.patient_id) and not study.issuer_of_patient_id
    return replace(study, issuer_of_patient_id=issuer) if issuer and is_left_out else study


def _in(title: str, titles: Collection[str]) -> bool:
    return not titles or title in titles
