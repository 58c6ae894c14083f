"""A file of people with one of each role and each kind of machine; a key is NAME.key-of-NAME."""

from functools import cache
from pathlib import Path

from fastapi.testclient import TestClient

from services.backends.keys import hash_of

ROLES = ("reader", "lead", "ops", "auditor")
TASKS = ("store", "retrieve", "workitems")


def key_of(name: str) -> str:
    return f"{name}.key-of-{name}"


@cache
def _hash(key: str) -> str:
    return hash_of(key)


def person(name: str, *roles: str, tenants: tuple[str, ...] = ()) -> str:
    return _entry("people", name, f"roles = {list(roles)}", tenants)


def machine(name: str, *may: str, tenants: tuple[str, ...] = ()) -> str:
    return _entry("machines", name, f"may = {list(may)}", tenants)


def _entry(kind: str, name: str, what: str, tenants: tuple[str, ...]) -> str:
    return f'[{kind}.{name}]\n{what}\ntenants = {list(tenants)}\nkey = "{_hash(key_of(name))}"\n'


def everybody() -> str:
    """Everybody of every tenant: people by their role, machines by their task."""
    return "".join([*(person(role, role) for role in ROLES), *(machine(task, task) for task in TASKS)])


def write_people(folder: Path, *entries: str) -> str:
    path = folder / "people.toml"
    path.write_text("".join(entries) or everybody())
    return str(path)


def shows_key(name: str) -> dict[str, str]:
    """The header of whoever has this name."""
    return {"Authorization": f"Bearer {key_of(name)}"}


def sign_in(client: TestClient, name: str) -> TestClient:
    answer = client.post("/login", data={"name": name, "key": key_of(name)}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    return client
