"""People who signed in at the identity provider: who they were said to be, and whose each of their names is."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Engine

from services.backends.store.engine import insert_new, reading, writing
from services.backends.store.tables import provider_name, signed_in
from services.triage.person import Person, PersonRole


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedInPerson:
    """person: by the claims at that time. settings_digest: of the file by which they were read."""

    person: Person
    id_token: str
    settings_digest: str


class SignedIn:
    """`SqlStudyStore.signed_in`. Raises StoreUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def is_name_of(self, name: str, *, issuer: str, subject: str, now: datetime) -> bool:
        """Whether a name is this subject's; the first who comes with it has it for good."""
        row = {"name": name, "issuer": issuer, "subject": subject, "since": now}
        with writing(self._engine) as connection:
            insert_new(connection, provider_name, [row])
            query = sa.select(provider_name.c.issuer, provider_name.c.subject).where(provider_name.c.name == name)
            return tuple(connection.execute(query).one()) == (issuer, subject)

    def keep(self, session_id: str, who: SignedInPerson, *, forget_at: datetime, now: datetime) -> None:
        """Keep who a session is of until it would be over; those that would be over by now are forgotten."""
        row = {
            "session_id": session_id,
            "name": who.person.name,
            "display_name": who.person.display_name,
            "roles": " ".join(sorted(who.person.roles)),
            "tenants": " ".join(sorted(who.person.tenants)),
            "id_token": who.id_token,
            "settings_digest": who.settings_digest,
            "forget_at": forget_at,
        }
        with writing(self._engine) as connection:
            connection.execute(sa.delete(signed_in).where(signed_in.c.forget_at <= now))
            connection.execute(sa.insert(signed_in), [row])

    def get(self, session_id: str) -> SignedInPerson | None:
        """Who a session is of."""
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(signed_in).where(signed_in.c.session_id == session_id)).first()
        if row is None:
            return None
        person = Person(
            name=row.name,
            display_name=row.display_name,
            roles=frozenset(map(PersonRole, row.roles.split())),
            tenants=frozenset(row.tenants.split()),
        )
        return SignedInPerson(person=person, id_token=row.id_token, settings_digest=row.settings_digest)

    def forget(self, session_id: str) -> None:
        """The session was ended."""
        with writing(self._engine) as connection:
            connection.execute(sa.delete(signed_in).where(signed_in.c.session_id == session_id))
