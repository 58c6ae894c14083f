"""What all tables are made of."""

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, String

from services.backends.store.columns import Words
from services.triage.patient import MAX_ID_CHARACTERS

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

UID = String(64)
HEX = String(64)
WORD = String(32)
PATIENT_ID = String(MAX_ID_CHARACTERS)
PERSON = String(200)
SERIAL = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only an INTEGER PRIMARY KEY


def scope(*, primary_key: bool = False) -> tuple[Column[str], ...]:
    """Of `triage.switch.ModelScope`; EVERY stands for every version, or every tenant."""
    names = ("model_name", "model_version", "tenant")
    return tuple(Column(name, Words, nullable=False, primary_key=primary_key) for name in names)


def of_study() -> Column[str]:
    """Whose row it is."""
    return Column("study_instance_uid", UID, ForeignKey("study.study_instance_uid"), nullable=False)


# One row: the oldest revision whose program can work on these tables. A migration that breaks older programs raises it.
compatibility = sa.Table("compatibility", metadata, Column("oldest_revision", String(32), primary_key=True))
