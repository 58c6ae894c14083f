"""Content negotiation (PS3.18 8.7): which offer an Accept header gets."""

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.dicomweb.negotiate import Offer, accepted, choose

J2K, EXPLICIT = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.1"
STORED = Offer(media_type="application/dicom", transfer_syntax=J2K, multipart=True)
DECODED = Offer(media_type="application/dicom", transfer_syntax=EXPLICIT, multipart=True)
BARE = Offer(media_type="application/dicom", transfer_syntax=EXPLICIT)
BARE_STORED = Offer(media_type="application/dicom", transfer_syntax=J2K)
OFFERS = [STORED, DECODED, BARE_STORED, BARE]
JPEG, PNG = Offer(media_type="image/jpeg"), Offer(media_type="image/png")
IMAGES = [JPEG, PNG]
JP2, OCTETS = (
    Offer(media_type="image/jp2", transfer_syntax=J2K, multipart=True),
    Offer(media_type="application/octet-stream", transfer_syntax=EXPLICIT, multipart=True),
)
STORED_OCTETS = Offer(media_type="application/octet-stream", transfer_syntax=J2K, multipart=True)
FRAMES = [JP2, STORED_OCTETS, OCTETS]
IN_PARTS = 'multipart/related; type="application/dicom"'


def request(*accept: str, query: str = "") -> Request:
    headers = [(b"accept", each.encode()) for each in accept]
    return Request({"type": "http", "headers": headers, "query_string": query.encode()})


@pytest.mark.parametrize(
    ("accept", "offers", "chosen"),
    [
        ("*/*", OFFERS, DECODED),
        ("multipart/related", OFFERS, DECODED),
        (IN_PARTS, OFFERS, DECODED),
        (f"{IN_PARTS}; transfer-syntax=*", OFFERS, STORED),
        (f"{IN_PARTS}; transfer-syntax={J2K}", OFFERS, STORED),
        (f"{IN_PARTS}; transfer-syntax=1.2.840.10008.1.2", OFFERS, None),
        (f"{IN_PARTS}; transfer-syntax={J2K}; q=0.4, {IN_PARTS}; q=0.5", OFFERS, DECODED),
        (f"{IN_PARTS}; transfer-syntax={J2K}, {IN_PARTS}", OFFERS, STORED),
        (f"{IN_PARTS}; transfer-syntax=*, {IN_PARTS}; transfer-syntax={J2K}; q=0", OFFERS, DECODED),
        ("application/dicom", OFFERS, BARE),
        ("application/dicom; transfer-syntax=*", OFFERS, BARE_STORED),
        ("text/html, application/xhtml+xml", OFFERS, None),
        ("text/html, application/*; q=0.1", OFFERS, BARE),
        ("image/*", IMAGES, JPEG),
        ("image/png, image/jpeg", IMAGES, PNG),
        ("image/jpeg; q=0.2, image/png; q=0.8", IMAGES, PNG),
        ("image/jpeg;q=0, */*", IMAGES, PNG),
        ("image/jpeg; q=0", IMAGES, None),
        ("image/jpeg; q=loud", IMAGES, None),
        ("IMAGE/PNG", IMAGES, PNG),
        ("", IMAGES, JPEG),
        ("*/*", FRAMES, OCTETS),
        ('multipart/related; type="image/jp2"', FRAMES, JP2),
        ("multipart/related; type=application/octet-stream", FRAMES, OCTETS),
        ("multipart/related; type=application/octet-stream; transfer-syntax=*", FRAMES, STORED_OCTETS),
        ('multipart/related; type="image/*"', FRAMES, JP2),
        ('multipart/related; type="image/jls"', FRAMES, None),
        (";;,=,\x00", IMAGES, None),
    ],
)
def test_the_best_offer_is_chosen(accept: str, offers: list[Offer], chosen: Offer | None) -> None:
    assert choose(accepted(request(accept)), offers) == chosen


def test_without_accept_anything_will_do_and_several_headers_are_one_list() -> None:
    assert choose(accepted(request()), IMAGES) == JPEG
    assert choose(accepted(request("image/jpeg; q=0.5", "image/png")), IMAGES) == PNG


def test_the_accept_parameter_goes_before_the_header() -> None:
    assert choose(accepted(request("image/jpeg", query="accept=image/png")), IMAGES) == PNG


@given(st.text(st.characters(max_codepoint=255)))
def test_no_accept_header_is_a_fault(accept: str) -> None:
    headers = [(b"accept", accept.encode("latin-1"))]
    choose(accepted(Request({"type": "http", "headers": headers, "query_string": b""})), OFFERS)
