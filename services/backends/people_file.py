"""Who may use the desk, from the TOML file that VIGIE_PEOPLE names; deploy/people.toml explains every key.

It holds no keys, only their Argon2id hashes; and no error text quotes a value of it.
"""

import re
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from argon2 import extract_parameters
from argon2.exceptions import InvalidHashError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from services.triage.errors import PeopleRefused
from services.triage.person import Caller, Machine, MachineTask, Person, PersonRole

NAME = re.compile(r"[a-z0-9][a-z0-9@_-]{0,62}")
"""Of a person or a machine: stands in histories, in cookies, and before the dot of a key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """A person or a machine, and the hash of their key."""

    who: Caller
    key_hash: str


Accounts = dict[str, Account]
"""By name."""


def _hashed(text: str) -> str:
    try:
        extract_parameters(text)
    except InvalidHashError:
        raise ValueError(
            "is no hash of a key: `vigie people hash` makes one; the key itself never stands here"
        ) from None
    return text


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    key: Annotated[str, AfterValidator(_hashed)]
    tenants: list[str] = []


class _PersonEntry(_Entry):
    display_name: str = Field("", max_length=64)
    roles: list[PersonRole] = Field(min_length=1)

    def account(self, name: str) -> Account:
        who = Person(
            name=name,
            display_name=self.display_name,
            roles=frozenset(self.roles),
            tenants=frozenset(self.tenants),
        )
        return Account(who=who, key_hash=self.key)


class _MachineEntry(_Entry):
    may: list[MachineTask] = Field(min_length=1)

    def account(self, name: str) -> Account:
        who = Machine(name=name, may=frozenset(self.may), tenants=frozenset(self.tenants))
        return Account(who=who, key_hash=self.key)


def load_people(path: Path, tenants: Collection[str]) -> Accounts:
    """The people and machines of a file. tenants: the names of those in force.

    Raises PeopleRefused: unreadable_people (no such file, not TOML), invalid_people (the text names file, person and
    field).
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PeopleRefused("unreadable_people", f"{path}: {type(error).__name__}") from error
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at .*\)", str(error))
        raise PeopleRefused("unreadable_people", f"{path}: is not TOML {place[0] if place else ''}".strip()) from None
    try:
        return _read(content, tenants)
    except ValueError as error:
        raise PeopleRefused("invalid_people", f"{path}: {error}") from None


def _read(content: dict[str, Any], tenants: Collection[str]) -> Accounts:
    if unknown := set(content) - {"people", "machines"}:
        raise ValueError(f"'{min(unknown)}' is no table of this file: begin with [people.NAME] or [machines.NAME]")
    accounts: Accounts = {}
    entries: dict[str, type[_PersonEntry] | type[_MachineEntry]] = {"people": _PersonEntry, "machines": _MachineEntry}
    for kind, entry in entries.items():
        tables = content.get(kind, {})
        if not isinstance(tables, dict):
            raise ValueError(f"'{kind}' is no table: begin with [{kind}.NAME]")  # noqa: TRY004 - of a file
        for name, table in tables.items():
            if name in accounts:
                raise ValueError(f"'{name}' is the name of a person and of a machine")
            accounts[name] = _account(kind, entry, name, table, tenants)
    if not any(isinstance(one.who, Person) for one in accounts.values()):
        raise ValueError("there is no person in it: begin one with [people.NAME]")
    return accounts


def _account(
    kind: str, entry: type[_PersonEntry] | type[_MachineEntry], name: str, table: Any, tenants: Collection[str]
) -> Account:
    where = f"[{kind}.{name}]"
    if not NAME.fullmatch(name):
        raise ValueError(f"{where}: a name has 1 to 63 of a-z, 0-9, @, _ and -, and begins with a letter or digit")
    try:
        account = entry.model_validate(table).account(name)
    except ValidationError as error:
        # messages of ours and of pydantic name what is allowed, never what was given
        told = "; ".join(f"field '{'.'.join(map(str, each['loc']))}': {each['msg']}" for each in error.errors())
        raise ValueError(f"{where}: {told.replace('Value error, ', '')}") from None
    for tenant in sorted(account.who.tenants):
        if tenant not in tenants:
            there_are = ", ".join(sorted(tenants)) or "none (VIGIE_TENANTS)"
            raise ValueError(f"{where}: field 'tenants': there is no tenant '{tenant}'; there are {there_are}")
    return account
