import pytest

from services.backends.senders import CStoreSender, FolderSender, StowSender, parse_destination, route_to, sender_for
from services.backends.senders.destinations import split_address
from services.settings import Settings


def test_a_dicom_destination_is_read_from_ae_title_host_and_port():
    destination = parse_destination("PACS@pacs.example:104")
    assert (destination.kind, destination.address) == ("dicom", "PACS@pacs.example:104")
    assert split_address("PACS@pacs.example:104") == ("PACS", "pacs.example", 104)


def test_an_ipv6_address_is_written_in_brackets():
    assert parse_destination("PACS@[fe80::1]:11112").address == "PACS@[fe80::1]:11112"
    assert split_address("PACS@[fe80::1]:11112") == ("PACS", "fe80::1", 11112)


@pytest.mark.parametrize("text", ["/results", "file:/results", "file:///results", "/results/"])
def test_a_path_is_a_folder_with_one_name_however_it_is_written(text):
    destination = parse_destination(text)
    assert (destination.kind, destination.name) == ("folder", "/results")


def test_a_relative_folder_gets_an_absolute_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_destination("./out").address == str(tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("pacs", "is no destination"),
        ("PACS@host", "is no destination"),
        ("PACS@::1:104", "is no destination"),
        ("@host:104", "AE title"),
        ("A_TITLE_TOO_LONG_@host:104", "AE title"),
        ("A\\B@host:104", "AE title"),
        ("PACS@:104", "host"),
        ("PACS@host:", "port"),
        ("PACS@host:0", "port"),
        ("PACS@host:65536", "port"),
        ("PACS@host:dicom", "port"),
        ("https:///dicom-web", "DICOMweb root"),
        ("https://host/dicom-web?x=1", "DICOMweb root"),
        ("https://host:dicom/", "DICOMweb"),
    ],
)
def test_a_destination_that_cannot_be_read_says_what_is_wrong(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse_destination(text)


def test_each_kind_of_destination_has_its_sender(tmp_path):
    assert isinstance(sender_for(route_to("PACS@host:104"), Settings()), CStoreSender)
    assert isinstance(sender_for(route_to("https://host/dicom-web"), Settings()), StowSender)
    assert isinstance(sender_for(route_to(str(tmp_path)), Settings()), FolderSender)


@pytest.mark.parametrize("text", ["https://Pacs.example/dicom-web", "https://pacs.example/dicom-web/"])
def test_a_dicomweb_root_has_one_name_however_it_is_written(text):
    destination = parse_destination(text)
    assert (destination.kind, destination.name) == ("dicomweb", "https://pacs.example/dicom-web")


def test_credentials_in_a_url_are_refused_and_not_repeated():
    with pytest.raises(ValueError, match="VIGIE_STOW_CREDENTIALS") as refusal:
        parse_destination("https://vigie:secret@pacs.example/dicom-web")
    assert "secret" not in str(refusal.value)
