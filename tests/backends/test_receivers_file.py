"""The file of receivers: what it says, and what is said of one that cannot be used."""

import tomllib
from pathlib import Path

import pytest

from services.backends.receivers import addressees, receivers
from services.settings import Settings
from services.triage.errors import DestinationsRefused, TenantsRefused
from services.triage.finding import Occasion
from services.triage.result import Destination

EXAMPLE = Path(__file__).parents[2] / "deploy" / "notifications.toml"
EVERY_RESULT = frozenset(Occasion) - {Occasion.FLAGGED}
HL7 = 'kind = "hl7"\naddress = "ris:2575"\n'


def read(folder: Path, content: str, **settings: object):
    path = folder / "notifications.toml"
    path.write_text(content)
    return receivers(Settings(data=folder, notifications=path, **settings))


def test_without_a_file_nobody_is_told(tmp_path):
    assert receivers(Settings(data=tmp_path, notifications=None)) == ()


def test_the_example_can_be_used():
    found = {one.destination.name: one for one in receivers(Settings(notifications=EXAMPLE))}
    assert set(found) == set(tomllib.loads(EXAMPLE.read_text()))
    assert found["ris"].link.tls.ca == EXAMPLE.parent / "tls" / "hospital-ca.pem"
    assert found["pager"].destination.told_of == {Occasion.FLAGGED, Occasion.FAILED}


def test_a_receiver_gets_no_objects_and_is_told_of_everything_unless_it_says_otherwise(tmp_path):
    (ris,) = read(tmp_path, f"[ris]\n{HL7}")
    assert ris.destination == Destination(
        name="ris", kind="hl7", address="ris:2575", objects=frozenset(), told_of=EVERY_RESULT
    )


def test_results_are_owed_to_destinations_and_receivers(tmp_path):
    read(tmp_path, f"[ris]\n{HL7}")
    settings = Settings(data=tmp_path, send_to=("PACS@h:104",), notifications=tmp_path / "notifications.toml")
    assert [one.name for one in addressees(settings)] == ["PACS@h:104", "ris"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("ris = 1", "receiver 'ris': it is no table"),
        ('[ris]\nkind = "fax"\naddress = "1"', "'kind'"),
        ('[ris]\nkind = "hl7"\naddress = "ris"', "write HOST:PORT"),
        ('[ris]\nkind = "hl7"\naddress = "ris:0"', "write HOST:PORT"),
        ('[ris]\nkind = "fhir"\naddress = "fhir.example"', "write https://HOST"),
        (f"[ris]\n{HL7}colour = 1", "colour"),
        (f'[ris]\n{HL7}tell = ["sometimes"]', "tell"),
        (f"[ris]\n{HL7}tell = []", "tell"),
        (f'[ris]\n{HL7}filler_order_number = "Accession"', "no DICOM keyword"),
        (f'[ris]\n{HL7}[ris.codes]\nvolume = "V"', "write value^meaning^scheme"),
        (f'[ris]\n{HL7}[ris.codes]\nweight = "V^V^L"', "weight"),
        (f'[ris]\n{HL7}sending_facility = "A|B"', "may stand in a field of HL7"),
        (f'[ris]\n{HL7}character_set = "ASCII"', "character_set"),
        (f'[ris]\n{HL7}[ris.tls]\nkey = "a"', "come together"),
        ("[ris", "notifications.toml"),
    ],
)
def test_what_is_wrong_is_told_with_file_receiver_and_field(tmp_path, content, told):
    with pytest.raises(DestinationsRefused) as error:
        read(tmp_path, content)
    assert told in str(error.value)
    assert "notifications.toml" in str(error.value)


def test_a_secret_in_an_address_is_refused_and_not_repeated(tmp_path):
    with pytest.raises(DestinationsRefused, match="holds no credentials") as error:
        read(tmp_path, '[hook]\nkind = "webhook"\naddress = "https://me:geheim@host/x"')
    assert "geheim" not in str(error.value)


def test_a_receiver_has_a_name_of_its_own(tmp_path):
    with pytest.raises(DestinationsRefused, match="has this name"):
        read(tmp_path, f'["PACS@h:104"]\n{HL7}', send_to=("PACS@h:104",))


def test_a_receiver_is_told_of_the_results_of_the_tenants_that_name_it(tmp_path):
    tenants = tmp_path / "tenants.toml"
    hook = '[{name}]\nkind = "webhook"\naddress = "https://{name}.example/hook"\n'
    content = "".join(hook.format(name=name) for name in ("ris-a", "ris-b"))
    tenants.write_text(
        '[a]\ncalling_ae_titles = ["CT1"]\ndestinations = ["ris-a"]\n'
        '[b]\ncalling_ae_titles = ["CT2"]\ndestinations = ["ris-b"]\n'
    )
    found = read(tmp_path, content, tenants=tenants)
    assert {one.destination.name: set(one.destination.tenants) for one in found} == {"ris-a": {"a"}, "ris-b": {"b"}}
    with pytest.raises(TenantsRefused, match="ris-c"):
        read(tmp_path, content + hook.format(name="ris-c"), tenants=tenants)
