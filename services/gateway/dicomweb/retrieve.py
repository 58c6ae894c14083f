"""WADO-RS (PS3.18 10.4): instances, metadata, frames, bulk data and pictures, each read while it is sent."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from fastapi import Request, Response
from pydicom.uid import ExplicitVRLittleEndian

from services.gateway.desk import Desk
from services.gateway.dicomweb import attributes
from services.gateway.dicomweb.bulk_data import PIXEL_PLACES, bulk_data
from services.gateway.dicomweb.frames import frame_offers, read_frames
from services.gateway.dicomweb.json_model import Seen, dicom_json, read_header
from services.gateway.dicomweb.negotiate import (
    DICOM,
    DICOM_JSON,
    JPEG,
    JSON,
    OCTET_STREAM,
    PNG,
    Offer,
    accepted,
    require,
    require_one,
)
from services.gateway.dicomweb.parts import multipart, streamed
from services.gateway.dicomweb.rendered import render, view
from services.gateway.dicomweb.resource import bad_request, instances, resource, url, warnings
from services.gateway.dicomweb.stored import CHUNK_BYTES, StoredFile, stored_file

PREPARED_INSTANCES = 1000
"""The metadata of more instances are streamed, and not kept."""

_FRAME_LIST = re.compile(r"[1-9][0-9]{0,7}(?:,[1-9][0-9]{0,7})*")


def retrieve(request: Request, desk: Desk) -> Response:
    """The instances of a study, a series, or one. Raises ProblemError (400, 404, 406)."""
    stored = _files(request, desk)
    ranges, bare = accepted(request), resource(request).instance is not None
    offers = [require_one(ranges, _dicom_offers(each, bare=bare)) for each in stored]
    parts = [(offer, _dicom(each, offer)) for each, offer in zip(stored, offers, strict=True)]
    return _warned(_answer(DICOM, parts), request, desk)


def metadata(request: Request, desk: Desk) -> Response:
    """The attributes of the instances, bulk data by URI (PS3.18 10.4.1.1). Raises ProblemError (400, 404, 406)."""
    media_type = require(request, DICOM_JSON, JSON)
    files = _files(request, desk)
    if len(files) > PREPARED_INSTANCES:
        return _warned(streamed(media_type, _json_array(request, files)), request, desk)
    return _warned(Response(prepared_metadata(request, desk, files), media_type=media_type), request, desk)


def prepared_metadata(request: Request, desk: Desk, files: Sequence[StoredFile]) -> bytes:
    """Of instances of one study, as JSON: a file's never change, so what was made once is given again.

    Raises ProblemError (406).
    """
    of = tuple((each.instance.digest, url(request, each.instance)) for each in files)
    return desk.prepared.get((desk.stored_as, of), lambda: b"".join(_json_array(request, files)))


def frames(request: Request, desk: Desk) -> Response:
    """Frames of an instance, each a part. Raises ProblemError (400, 404, 406)."""
    numbers = _frame_numbers(request)
    (stored,) = _files(request, desk)
    offer = require_one(accepted(request), frame_offers(stored, bare=len(numbers) == 1))
    return _answer(
        offer.media_type, ((offer, [frame]) for frame in read_frames(stored, numbers, offer.transfer_syntax))
    )


def bulk(request: Request, desk: Desk) -> Response:
    """A binary value by its BulkDataURI; encapsulated pixel data decoded as a whole, or frame by frame as stored."""
    (stored,) = _files(request, desk)
    place = request.path_params["place"]
    if place not in PIXEL_PLACES or not stored.is_encapsulated:
        ways = [Offer(media_type=OCTET_STREAM, multipart=in_parts) for in_parts in (True, False)]
        return _answer(OCTET_STREAM, [(require_one(accepted(request), ways), bulk_data(stored, place))])
    ways = frame_offers(stored, bare=True)
    # bare only what is one value: the decoded frames, one behind the other
    offer = require_one(
        accepted(request), [way for way in ways if way.multipart or way.transfer_syntax == ExplicitVRLittleEndian]
    )
    all_frames = read_frames(stored, None, offer.transfer_syntax)
    if offer.transfer_syntax == ExplicitVRLittleEndian:
        return _answer(OCTET_STREAM, [(offer, all_frames)])
    return _answer(offer.media_type, ((offer, [frame]) for frame in all_frames))


def rendered(request: Request, desk: Desk) -> Response:
    """A frame as a picture: the first where none is named, of the middle instance of a series.

    Raises ProblemError (400, 404, 406).
    """
    media_type = require(request, JPEG, PNG)
    wanted = view(request)
    numbers = _frame_numbers(request) if "frames" in request.path_params else [1]
    if len(numbers) > 1:
        raise bad_request("several_frames", "One frame is rendered at a time.", "Ask for each frame by itself.")
    stored = _files(request, desk)
    return Response(render(stored[len(stored) // 2], numbers[0], wanted, media_type), media_type=media_type)


def _files(request: Request, desk: Desk) -> list[StoredFile]:
    """What the path stands for, all of it there. Raises ProblemError (400, 404, 500)."""
    return [stored_file(desk, one) for one in instances(desk, resource(request))]


def _warned(answer: Response, request: Request, desk: Desk) -> Response:
    """With word of images that it lacks."""
    answer.headers.update(warnings(desk, resource(request)))
    return answer


def _dicom_offers(stored: StoredFile, *, bare: bool) -> list[Offer]:
    """As it is stored, or in Explicit VR Little Endian; bare only where the path names an instance."""
    syntaxes = dict.fromkeys(
        [str(stored.transfer_syntax), *([ExplicitVRLittleEndian] if stored.is_convertible else [])]
    )
    return [
        Offer(media_type=DICOM, transfer_syntax=syntax, multipart=in_parts)
        for in_parts in ((True, False) if bare else (True,))
        for syntax in syntaxes
    ]


def _dicom(stored: StoredFile, offer: Offer) -> Iterator[bytes]:
    """The file in this transfer syntax; the stored one is never changed."""
    if offer.transfer_syntax == stored.transfer_syntax:
        yield from stored.chunks()
        return
    with stored.explicit_little_endian() as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _json_array(request: Request, stored: Sequence[StoredFile]) -> Iterator[bytes]:
    before, seen = "[", Seen()
    for each in stored:
        with each.open() as file:
            found = dicom_json(read_header(file), bulk_root=f"{url(request, each.instance)}/bulkdata/", seen=seen)
        found = dict(sorted((found | attributes.of_file(each.instance)).items()))
        yield (before + json.dumps(found, ensure_ascii=False, allow_nan=False)).encode("utf-8", "replace")
        before = ","
    yield b"]"


def _frame_numbers(request: Request) -> list[int]:
    text = request.path_params["frames"]
    if not _FRAME_LIST.fullmatch(text):
        raise bad_request("invalid_frames", "The frame list is not made of numbers from 1 on, with commas between.")
    return [int(number) for number in text.split(",")]


def _answer(media_type: str, parts: Iterable[tuple[Offer, Iterable[bytes]]]) -> Response:
    """In parts, or bare: then there is only one."""
    parts = iter(parts)
    first = next(parts)
    if first[0].multipart:
        return multipart(chain([first], parts), media_type=media_type)
    return streamed(first[0].content_type, iter(first[1]))
