"""A file of destinations is read whole or refused, naming file, destination and field."""

from pathlib import Path

import pytest

from services.backends.senders import route_to, routes
from services.backends.senders.link import PLAIN, Tls
from services.backends.senders.routes import Commitment
from services.settings import Settings
from services.triage.errors import DestinationsRefused
from services.triage.result import ALWAYS, ObjectKind

EXAMPLE = Path("deploy/destinations.toml")


@pytest.fixture
def routes_of(tmp_path):
    def read(text, *send_to):
        path = tmp_path / "destinations.toml"
        path.write_text(text, encoding="utf-8")
        return routes(Settings(destinations=path, send_to=send_to))

    return read


def test_a_destination_that_says_nothing_more_gets_seg_and_sr_over_a_plain_connection(routes_of):
    for (route,) in (routes_of('[pacs]\naddress = "PACS@host:104"'), routes(Settings(send_to=("PACS@host:104",)))):
        assert route.destination.objects == ALWAYS == {ObjectKind.SEG, ObjectKind.SR}
        assert (route.calling_ae_title, route.link, route.commitment) == (None, PLAIN, None)
        assert not route.destination.verdicts


def test_every_key_arrives(routes_of, tmp_path):
    (route,) = routes_of(
        '[pacs]\naddress = "PACS@host:104"\nobjects = ["SR", "gsps"]\ncalling_ae_title = "LOOKOUT"\n'
        "connect_timeout_s = 1\nanswer_timeout_s = 2.5\nverdicts = true\n"
        "storage_commitment = true\ncommitment_wait_s = 0\ncommitment_answer_within_s = 60\n"
        'commitment_max_requests = 2\n[pacs.tls]\nca = "ca.pem"\ncertificate = "/etc/vigie.pem"\nkey = "vigie.key"\n'
        "check_server_name = false"
    )
    assert (route.destination.name, route.destination.address) == ("pacs", "PACS@host:104")
    assert route.destination.objects == {ObjectKind.SR, ObjectKind.GSPS}
    assert route.calling_ae_title == "LOOKOUT"
    assert route.destination.verdicts
    assert (route.link.connect_timeout_s, route.link.answer_timeout_s) == (1, 2.5)
    assert route.link.tls == Tls(
        ca=tmp_path / "ca.pem",
        certificate=Path("/etc/vigie.pem"),
        key=tmp_path / "vigie.key",
        check_server_name=False,
    )
    assert route.commitment == Commitment(wait_s=0, answer_within_s=60, max_requests=2)


def test_a_destination_takes_segmented_lesions_in_one_form_or_in_none(routes_of):
    research, viewer = routes_of('["/research"]\nobjects = ["LABELMAP", "SR"]\n["/viewer"]\nobjects = ["SR"]')
    assert (research.destination.segmentation, viewer.destination.segmentation) == (ObjectKind.LABELMAP, None)
    with pytest.raises(DestinationsRefused, match=r"'both': field 'objects': SEG or LABELMAP, not both"):
        routes_of('[both]\naddress = "/both"\nobjects = ["LABELMAP", "SEG"]')


def test_the_server_name_is_checked_unless_it_is_switched_off(routes_of):
    (route,) = routes_of('[pacs]\naddress = "PACS@host:104"\ntls = {}')
    assert route.link.tls == Tls()
    assert route.link.tls.check_server_name


@pytest.mark.parametrize("address", ["PACS@host:104", "https://host/dicom-web", "/results"])
def test_a_table_that_is_named_by_its_address_has_the_name_it_had_in_send_to(routes_of, address):
    (route,) = routes_of(f'["{address}"]\nobjects = ["SR"]')
    assert (route.destination.name, route.destination.address) == (address, address)
    assert route.destination.name == route_to(address).destination.name


def test_the_destinations_of_send_to_come_first(routes_of):
    names = [one.destination.name for one in routes_of('[pacs]\naddress = "PACS@host:104"', "/results", "/results")]
    assert names == ["/results", "pacs"]


def test_the_example_can_be_read():
    pacs, viewer, research = routes(Settings(destinations=EXAMPLE))
    assert pacs.link.tls is not None
    assert pacs.link.tls.ca == EXAMPLE.parent / "tls" / "hospital-ca.pem"
    assert pacs.commitment == Commitment()
    assert viewer.commitment is None
    assert research.destination.kind == "folder"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[pacs]", "destination 'pacs': field 'address': Field required"),
        ('[pacs]\naddress = "host:104"', "destination 'pacs': field 'address': 'host:104' is no destination"),
        (
            '[pacs]\naddress = "PACS@h:104"\nobjects = ["PDF"]',
            "field 'objects.0': Input should be 'seg', 'labelmap', 'sr'",
        ),
        ('[pacs]\naddress = "PACS@h:104"\nobjects = []', "field 'objects': List should have at least 1 item"),
        ('[pacs]\naddress = "PACS@h:104"\nobject = ["SR"]', "field 'object': Extra inputs are not permitted"),
        ('[pacs]\naddress = "PACS@h:104"\ncalling_ae_title = "A\\\\B"', "field 'calling_ae_title': the AE title must"),
        ('[pacs]\naddress = "PACS@h:104"\ntls = { key = "k" }', "field 'tls': certificate and key come together"),
        ('[pacs]\naddress = "PACS@h:104"\ncommitment_max_requests = 0', "field 'commitment_max_requests': Input"),
        ('[web]\naddress = "https://h/p"\ntls = {}\nstorage_commitment = true', "storage_commitment, tls: only for"),
        ('[web]\naddress = "https://ana:secret@h/p"', "holds no credentials"),
        ('address = "PACS@h:104"', "destination 'address': it is no table"),
        ('[a]\naddress = "PACS@h:104"\n[b]\naddress = "PACS@h:104"', "destination 'b': field 'address': PACS@h:104 is"),
        ('["OLD@h:104"]\naddress = "PACS@h:104"', "OLD@h:104 is in VIGIE_SEND_TO too"),
        ('[pacs]\naddress = "OLD@h:104"', "OLD@h:104 is in VIGIE_SEND_TO too"),
    ],
)
def test_a_mistake_is_told_with_file_destination_and_field(routes_of, text, complaint):
    with pytest.raises(DestinationsRefused) as refusal:
        routes_of(text, "OLD@h:104")
    assert refusal.value.reason.code == "invalid_destinations"
    assert complaint in refusal.value.reason.text
    assert "destinations.toml: destination" in refusal.value.reason.text
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("text", ["[pacs\n", None])
def test_a_file_that_cannot_be_read_is_refused(routes_of, tmp_path, text):
    with pytest.raises(DestinationsRefused, match=r"destinations\.toml") as refusal:
        routes_of(text) if text else routes(Settings(destinations=tmp_path / "destinations.toml"))
    assert refusal.value.reason.code == "unreadable_destinations"
