"""A binary value by its place in the data set (PS3.18 10.4.1.1), read from the file in pieces."""

import re
from collections.abc import Iterator
from typing import BinaryIO

from pydicom import Dataset
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.tag import Tag

from services.backends.elements import PIXEL_DATA
from services.backends.files.pixels import UNREADABLE
from services.gateway.dicomweb.json_model import BULK_VRS, read_header
from services.gateway.dicomweb.stored import CHUNK_BYTES, StoredFile
from services.gateway.problems import ProblemError

PIXEL_PLACES = frozenset(f"{tag:08X}" for tag in PIXEL_DATA)
_PLACE = re.compile(r"[0-9A-F]{8}(?:/[0-9]{1,6}/[0-9A-F]{8})*")


def bulk_data(stored: StoredFile, place: str) -> Iterator[bytes]:
    """The value at a place such as '00540016/0/00189999' (tag, item from 0, tag ...), little endian.

    Raises ProblemError: 404 where no binary value is, 406.
    """
    if not _PLACE.fullmatch(place):
        raise _nothing_there()
    with stored.open() as file:
        element = _element(read_header(file), *place.split("/"))
        if isinstance(element, RawDataElement) and element.value is None and element.length:
            yield from _slice(file, element.value_tell, element.length)
        elif isinstance(element.value, bytes) and (element.VR or "UN") in BULK_VRS:
            yield element.value
        else:
            raise _nothing_there()


def _element(dataset: Dataset, *place: str) -> RawDataElement | DataElement:
    *way, tag = place
    try:
        for sequence, item in zip(way[::2], way[1::2], strict=True):
            dataset = dataset[Tag(sequence)].value[int(item)]
        element = dataset.get_item(Tag(tag), keep_deferred=True)
    except (*UNREADABLE, OSError) as error:
        raise _nothing_there() from error
    if element is None:
        raise _nothing_there()
    return element


def _slice(file: BinaryIO, start: int, length: int) -> Iterator[bytes]:
    file.seek(start)
    while length > 0 and (chunk := file.read(min(CHUNK_BYTES, length))):
        length -= len(chunk)
        yield chunk


def _nothing_there() -> ProblemError:
    return ProblemError(
        404,
        "unknown_bulk_data",
        "Unknown bulk data",
        detail="The instance has no binary value at this place.",
        way_out="Take the BulkDataURI from the /metadata of the instance as it is.",
    )
