"""The file of people: what is in it, and what is refused, without a word of any key."""

from pathlib import Path

import pytest

from services.backends.keys import hash_of, is_key, name_in, new_key
from services.backends.people_file import load_people
from services.triage.errors import PeopleRefused
from services.triage.person import Machine, MachineTask, Person, PersonRole
from tests.support.people import key_of, machine, person

SECRET = "correct-horse-battery"
EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "people.toml"


def loaded(tmp_path: Path, text: str, tenants: tuple[str, ...] = ("a", "b")):
    path = tmp_path / "people.toml"
    path.write_text(text)
    return load_people(path, tenants)


def test_people_and_machines_are_read(tmp_path: Path) -> None:
    found = loaded(tmp_path, person("claire", "reader", "lead", tenants=("a",)) + machine("pacs", "retrieve"))
    roles = frozenset({PersonRole.READER, PersonRole.LEAD})
    assert found["claire"].who == Person(name="claire", roles=roles, tenants=frozenset({"a"}))
    assert found["pacs"].who == Machine(name="pacs", may=frozenset({MachineTask.RETRIEVE}))
    assert is_key(key_of("pacs"), found["pacs"].key_hash)
    assert not is_key(key_of("claire"), found["pacs"].key_hash)


def test_the_example_is_one() -> None:
    assert {"c-martin", "night-ops", "pacs"} == set(load_people(EXAMPLE, []))


def test_a_made_key_says_whose_it_is_and_is_never_made_twice() -> None:
    one, other = new_key("c-martin"), new_key("c-martin")
    assert (name_in(one), name_in("no name")) == ("c-martin", "")
    assert one != other
    assert one not in hash_of(one)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there is no person in it"),
        (machine("pacs", "store"), "there is no person in it"),
        (f'[people.x]\nroles = ["reader"]\nkey = "{SECRET}"', r"\[people.x\]: field 'key': is no hash of a key"),
        (f'[people.x]\nroles = ["reader"]\nkey = ["{SECRET}"]', "field 'key'"),
        (f'[people.x]\nroles = ["reader"]\npassword = "{SECRET}"', "field 'key': .*field 'password'"),
        (f'[people.x]\nroles = ["{SECRET}"]\nkey = "{hash_of(SECRET)}"', "field 'roles.0': .*'reader'"),
        (person("x"), "field 'roles'"),
        (person("x", "reader", tenants=("c",)), "there is no tenant 'c'; there are a, b"),
        (person("x", "reader").replace("[people.x]", '[people."Dr X"]'), "a name has 1 to 63 of"),
        (person("x", "reader") + machine("x", "store"), "'x' is the name of a person and of a machine"),
        (person("x", "reader") + machine("y", "print"), r"\[machines.y\]: field 'may.0'"),
        ("people = 3", "'people' is no table"),
        (f'people.x = "{SECRET}"', r"\[people.x\]"),
        (f'{SECRET} = "{SECRET}"\n[persons.x]', "is no table of this file"),
        (f'[people.x\nkey = "{SECRET}"', r"is not TOML \(at line 1, column 10\)"),
        (f'[people.x]\nkey = "{SECRET}', "is not TOML"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_place_and_field_without_its_values(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(PeopleRefused, match=told) as refused:
        loaded(tmp_path, text)
    error: BaseException | None = refused.value
    assert str(tmp_path / "people.toml") in str(error)
    if not text.startswith(SECRET):
        assert SECRET not in str(error)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PeopleRefused, match="FileNotFoundError"):
        load_people(tmp_path / "nowhere.toml", [])
