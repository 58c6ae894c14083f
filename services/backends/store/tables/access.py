"""Who comes in, and who was refused."""

import sqlalchemy as sa
from sqlalchemy import Column, Integer, Text

from services.backends.store.columns import UtcTime, Words
from services.backends.store.tables.base import HEX, PERSON, WORD, metadata

# Made once and shared by all processes: what signs sessions, what pseudonyms are made by.
kept_secret = sa.Table(
    "kept_secret", metadata, Column("name", WORD, primary_key=True), Column("value", Text, nullable=False)
)

# Sessions that somebody ended before their time. forget_at: when they would have ended by themselves.
ended_session = sa.Table(
    "ended_session",
    metadata,
    Column("session_id", WORD, primary_key=True),
    Column("forget_at", UtcTime, nullable=False),
)

# Who signed in at the identity provider, by session: as its claims had them then. id_token: for signing out there.
signed_in = sa.Table(
    "signed_in",
    metadata,
    Column("session_id", WORD, primary_key=True),
    Column("name", PERSON, nullable=False),
    Column("display_name", Words, nullable=False),
    Column("roles", Words, nullable=False),
    Column("tenants", Words, nullable=False),
    Column("id_token", Text, nullable=False),
    Column("settings_digest", HEX, nullable=False),
    Column("forget_at", UtcTime, nullable=False, index=True),
)

# Whose a name from the identity provider is, for good: histories hold it. subject: the issuer's word for a person.
provider_name = sa.Table(
    "provider_name",
    metadata,
    Column("name", PERSON, primary_key=True),
    Column("issuer", Words, nullable=False),
    Column("subject", Words, nullable=False),
    Column("since", UtcTime, nullable=False),
)

# reason: `services.gateway.refusals.RefusedFor`
caller_refusal = sa.Table(
    "caller_refusal",
    metadata,
    Column("reason", WORD, primary_key=True),
    Column("total", sa.BigInteger().with_variant(Integer, "sqlite"), nullable=False),
)
