"""A file of tenants is read whole or refused, naming tenant and field; what could be read in two ways is refused."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.backends.senders import routes, tenants_in_force
from services.backends.tenants_file import load_tenants
from services.settings import Settings
from services.triage.errors import TenantsRefused
from services.triage.tenant import NO_TENANT, NO_TENANTS

EXAMPLE = Path("deploy/tenants.toml")
A = '[a]\ncalled_ae_titles = ["VIGIE_A"]\ndestinations = ["pacs-a"]\n'
B = '[b]\ncalled_ae_titles = ["VIGIE_B"]\ndestinations = ["pacs-b"]\n'


@pytest.fixture
def read(tmp_path):
    def load(text, destinations=("pacs-a", "pacs-b")):
        path = tmp_path / "tenants.toml"
        path.write_text(text, encoding="utf-8")
        return load_tenants(path, destinations)

    return load


def test_without_a_file_nothing_is_kept_apart():
    settings = Settings(send_to=("PACS@host:104",))
    assert tenants_in_force(settings) == NO_TENANTS
    assert [route.destination.tenants for route in routes(settings)] == [{NO_TENANT}]


def test_the_example_file_is_read_and_every_key_arrives():
    tenants = load_tenants(EXAMPLE, ["pacs-a", "pacs-b", "/srv/vigie/research"])
    a, b = tenants.tenants
    assert tenants.earlier == a.name == "hospital-a"
    assert (a.called_ae_titles, a.calling_ae_titles) == ({"VIGIE_A"}, {"PACS_A", "CT1_A", "CT2_A"})
    assert (a.issuer_of_patient_id, a.stow, b.stow) == ("HOSPITAL-A", False, True)
    assert b.destinations == {"pacs-b", "/srv/vigie/research"}


def test_a_destination_gets_the_results_of_the_tenants_that_name_it_and_of_nobody_else(tmp_path):
    path = tmp_path / "tenants.toml"
    path.write_text(
        'shared_destinations = ["C@h:3"]\n'
        + "".join(
            f'[{name}]\ncalled_ae_titles = ["V{name}"]\ndestinations = ["{name.upper()}@h:1", "C@h:3"]\n'
            for name in "ab"
        )
    )
    found = routes(Settings(send_to=("A@h:1", "B@h:1", "C@h:3"), tenants=path))
    assert [route.destination.tenants for route in found] == [{"a"}, {"b"}, {"a", "b"}]


@pytest.mark.parametrize(
    ("one", "other", "called", "calling", "owner"),
    [
        ('called_ae_titles = ["VA"]', 'called_ae_titles = ["VB"]', "VB", "X", "b"),
        ('calling_ae_titles = ["CA"]', 'calling_ae_titles = ["CB"]', "ANY", "CA", "a"),
        ('called_ae_titles = ["V"]\ncalling_ae_titles = ["CA"]', 'calling_ae_titles = ["CB"]', "V", "CB", "b"),
        ('called_ae_titles = ["VA"]\ncalling_ae_titles = ["C"]', 'called_ae_titles = ["VB"]', "VA", "D", None),
        ('called_ae_titles = ["VA"]', "stow = true", "VX", "D", None),
    ],
)
def test_an_association_is_of_one_tenant_or_of_none(read, one, other, called, calling, owner):
    tenants = read(f"[a]\n{one}\ndestinations = []\n[b]\n{other}\ndestinations = []\n", ())
    found = tenants.sender(called, calling)
    assert (found and found.name) == owner


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there is no tenant in it"),
        ("a = 1", "'a' is no key of this file, nor a tenant"),
        (A + B.replace("[b]", "[Hospital B]"), "unreadable_tenants"),
        (A + B.replace("[b]", '["B/.."]'), r"tenant 'B/\.\.': a name has 1 to 32 of a-z"),
        (A + B.replace("called_ae", "caled_ae"), "tenant 'b': field 'caled_ae_titles': Extra inputs"),
        (A + B.replace("VIGIE_B", "VIGIE_B_IS_TOO_LONG"), r"field 'called_ae_titles\.0': the AE title must have"),
        (A + '[b]\ndestinations = ["pacs-b"]\n', "tenant 'b': nothing can reach it"),
        (A + '[b]\ncalled_ae_titles = ["VIGIE_B"]\n', "tenant 'b': field 'destinations': Field required"),
        (A + B.replace("VIGIE_B", "VIGIE_A"), "tenants 'a' and 'b': an association that calls VIGIE_A from any AE"),
        (A + B.replace("called_", "calling_"), "an association that calls VIGIE_A from VIGIE_B would be of both"),
        (A + B.replace("pacs-b", "pacs-c"), "no destination 'pacs-c' in VIGIE_SEND_TO or .* there are pacs-a, pacs-b"),
        (
            A + B.replace('"pacs-b"', '"pacs-a", "pacs-b"'),
            "'pacs-a' would get the results of a, b: where that is meant",
        ),
        (A + B.replace('"pacs-b"', ""), "destination 'pacs-b' gets the results of no tenant"),
        ('shared_destinations = ["x"]\n' + A + B, "there is no destination 'x'"),
        ('earlier_studies = "c"\n' + A + B, "earlier_studies: there is no tenant 'c'; there are a, b"),
    ],
)
def test_what_is_wrong_or_could_be_read_in_two_ways_is_refused(read, text, told):
    with pytest.raises(TenantsRefused, match=told):
        read(text)


def test_a_file_that_is_not_there_is_refused_by_its_name(tmp_path):
    with pytest.raises(TenantsRefused, match=r"nowhere\.toml.*\[unreadable_tenants\]"):
        load_tenants(tmp_path / "nowhere.toml", ())


@pytest.mark.parametrize("check", [{"check_called_ae_title": True}, {"calling_ae_titles": "CT1"}])
def test_who_may_call_is_said_in_one_place(check):
    with pytest.raises(ValidationError, match="with VIGIE_TENANTS, its file says who may call"):
        Settings(tenants=EXAMPLE, **check)
