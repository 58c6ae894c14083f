"""Bodies that are written while they are read, bare or multipart/related (RFC 2387): no value is held as a whole.

The first piece is read before the answer begins, so that what cannot be read is told by a status. What breaks later
cuts the connection: without its end nobody takes the body for a whole one.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from uuid import uuid4

from fastapi.responses import StreamingResponse

from services.gateway.dicomweb.negotiate import MULTIPART, Offer

AT_ONCE_BYTES = 1 << 17
"""Smaller pieces are sent together: between two, others have their turn, and each of them takes it for milliseconds."""


def streamed(media_type: str, pieces: Iterator[bytes]) -> StreamingResponse:
    """One bare body."""
    together = _together(pieces)
    return StreamingResponse(chain([next(together, b"")], together), media_type=media_type)


def _together(pieces: Iterator[bytes]) -> Iterator[bytes]:
    held = bytearray()
    for piece in pieces:
        held += piece
        if len(held) >= AT_ONCE_BYTES:
            yield bytes(held)
            held.clear()
    yield bytes(held)


def multipart(parts: Iterable[tuple[Offer, Iterable[bytes]]], *, media_type: str) -> StreamingResponse:
    """Parts, each as the offer it fulfils; each is opened when its turn comes."""
    boundary = uuid4().hex
    return streamed(f'{MULTIPART}; type="{media_type}"; boundary={boundary}', _body(boundary.encode(), parts))


def _body(boundary: bytes, parts: Iterable[tuple[Offer, Iterable[bytes]]]) -> Iterator[bytes]:
    for offer, pieces in parts:
        head = b"--%b\r\nContent-Type: %b\r\n\r\n" % (boundary, offer.content_type.encode())
        for piece in pieces:
            yield head + piece
            head = b""
        yield head + b"\r\n"
    yield b"--%b--\r\n" % boundary
