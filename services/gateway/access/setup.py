"""How people and machines are known here, by the settings: by the people file, at the identity provider, or by both."""

from collections.abc import Callable
from datetime import datetime
from functools import partial

from services.backends.oidc.file import load_oidc
from services.backends.oidc.provider import Provider
from services.backends.store import SqlStudyStore
from services.gateway.access.accounts import People
from services.gateway.access.provider_sign_in import ProviderSignIn
from services.gateway.access.session import Sessions
from services.gateway.access.sign_in import SignIn
from services.gateway.audit.changing import file_changed
from services.gateway.audit.recorder import Recorder
from services.settings import Settings
from services.triage.tenant import Tenants


def sign_in_in_force(
    settings: Settings, store: SqlStudyStore, tenants: Tenants, clock: Callable[[], datetime], recorder: Recorder
) -> SignIn | None:
    """None where nobody has to sign in. Raises PeopleRefused and OidcRefused."""
    if settings.people is None and settings.oidc is None:
        return None
    names = [one.name for one in tenants.tenants]
    sessions = Sessions(settings, store.sessions)
    people = None
    if settings.people is not None:
        people = People(settings.people, names, changed=partial(file_changed, recorder))
    provider = None
    if settings.oidc is not None:
        oidc = load_oidc(settings.oidc, names)
        secret = settings.oidc_client_secret.get_secret_value() if settings.oidc_client_secret else None
        provider = ProviderSignIn(oidc, Provider(oidc, secret), store.signed_in, sessions, clock)
    return SignIn(people, sessions, clock, recorder, provider)
