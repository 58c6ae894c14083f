"""Who may open an association, told by its AE titles, and which tenant's it is (PS3.8 7.1.1, 9.3.4).

AE titles are claims, not proof: they keep apart senders that are set up rightly, and stop no one who means harm.
"""

from dataclasses import dataclass
from typing import cast

from pynetdicom import _config, evt
from pynetdicom.pdu_primitives import A_ASSOCIATE

from services.backends.senders import routes, tenants_in_force
from services.backends.senders.destinations import DICOM, split_address
from services.gateway.scp import reject
from services.settings import Settings
from services.triage.tenant import NO_TENANT, NO_TENANTS, Tenants

# rejected-permanent, by the service user, and why (PS3.8 table 9-21)
_CALLING_AE_TITLE_NOT_RECOGNIZED = (0x01, 0x01, 0x03)
_CALLED_AE_TITLE_NOT_RECOGNIZED = (0x01, 0x01, 0x07)


@dataclass(frozen=True, kw_only=True)
class Admission:
    """By tenants where there are any, else by the AE titles that may be called, and may call; none: any.

    reporters: (called, calling) as destinations call us, to verify and to report on Storage Commitment.
    """

    tenants: Tenants = NO_TENANTS
    called_ae_titles: frozenset[str] = frozenset()
    calling_ae_titles: frozenset[str] = frozenset()
    reporters: frozenset[tuple[str, str]] = frozenset()

    def tenant(self, event: evt.Event) -> str:
        """Whose the instances of an association are."""
        tenant = self.tenants.sender(*_titles(event))
        return tenant.name if tenant else NO_TENANT

    def admit(self, event: evt.Event) -> None:
        """Reject an association before anything is negotiated, or leave a reporter what it needs."""
        called, calling = _titles(event)
        is_called, sends = self._is_called(called), self._sends(called, calling)
        if sends:
            return
        if (called, calling) in self.reporters:
            _config.UNRESTRICTED_STORAGE_SERVICE = False  # of this process, which serves no other association
            return
        rejection = _CALLING_AE_TITLE_NOT_RECOGNIZED if is_called else _CALLED_AE_TITLE_NOT_RECOGNIZED
        reason = f"{'calling' if is_called else 'called'} AE title not recognized"
        reject(event, rejection, reason, called_ae_title=called, calling_ae_title=calling)

    def _is_called(self, called: str) -> bool:
        if self.tenants:
            return any(one.is_called(called) for one in self.tenants.tenants)
        return not self.called_ae_titles or called in self.called_ae_titles

    def _sends(self, called: str, calling: str) -> bool:
        if self.tenants:
            return self.tenants.sender(called, calling) is not None
        return self._is_called(called) and (not self.calling_ae_titles or calling in self.calling_ae_titles)


def admission(settings: Settings) -> Admission:
    """As the settings have it. Raises as `senders.routes`."""
    return Admission(
        tenants=tenants_in_force(settings),
        called_ae_titles=frozenset({settings.ae_title.strip()} if settings.check_called_ae_title else ()),
        calling_ae_titles=frozenset(settings.calling_ae_titles),
        reporters=frozenset(
            ((route.calling_ae_title or settings.ae_title).strip(), split_address(route.destination.address)[0])
            for route in routes(settings)
            if route.destination.kind == DICOM
        ),
    )


def _titles(event: evt.Event) -> tuple[str, str]:
    """Called and calling AE title; spaces around one are no part of it (PS3.5 6.2)."""
    request = cast(A_ASSOCIATE, event.assoc.requestor.primitive)
    return request.called_ae_title.strip(), request.calling_ae_title.strip()
