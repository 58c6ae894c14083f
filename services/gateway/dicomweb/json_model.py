"""A data set in the DICOM JSON Model (PS3.18 F.2): bulk data by URI, and a value nobody can understand left out."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any, BinaryIO

from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.tag import BaseTag

from services.backends.elements import PIXEL_DATA
from services.backends.files.pixels import UNREADABLE
from services.gateway.dicomweb.stored import undecodable

Element = dict[str, Any]
"""{"vr": ..., "Value" | "BulkDataURI" | "InlineBinary": ...}"""

DicomJson = dict[str, Element]
"""By tag, eight hexadecimal digits in upper case."""

Origin = tuple[BaseTag, str, bool, bytes]
"""Tag, VR, whether little endian, and the bytes of a value."""

Seen = dict[Origin, Element]
"""Elements by what they were made of: from one image of a series to the next, most are the same."""

BULK_BYTES = 1024
"""Binary values that are longer stay in the file."""

DEFER_BYTES = 1 << 16
BULK_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_CHARACTER_SET = "00080005"
_UTF_8 = "ISO_IR 192"


def read_header(file: BinaryIO) -> Dataset:
    """A Part 10 file, its longer values not loaded yet. Raises ProblemError (406)."""
    # a file in memory has nothing to come back to for what was put off
    on_disk = hasattr(file, "name")
    try:
        return dcmread(file, defer_size=DEFER_BYTES if on_disk else None, force=True)
    except (*UNREADABLE, OSError) as error:
        raise undecodable() from error


def dicom_json(
    dataset: Dataset,
    *,
    bulk_root: str | None = None,
    wanted: Callable[[str], bool] = lambda _tag: True,
    seen: Seen | None = None,
) -> DicomJson:
    """The data set without group lengths, in UTF-8 whatever its character set was.

    bulk_root: what goes before the place of a binary value, such as '00540016/0/00189999' (tag, item from 0, tag ...),
    to make its URI; None: binary values are left out. wanted: of which tags. seen: what is kept from one data set to
    the next.
    """
    seen = {} if seen is None else seen
    tags = [tag for tag in sorted(dataset.keys()) if tag.element != 0 and wanted(f"{tag:08X}")]
    found = {f"{tag:08X}": _element(dataset, tag, bulk_root, seen) for tag in tags}
    if _CHARACTER_SET in found:
        found[_CHARACTER_SET] = {"vr": "CS", "Value": [_UTF_8]}
    return found


def _element(dataset: Dataset, tag: BaseTag, bulk_root: str | None, seen: Seen) -> Element:
    raw = dataset.get_item(tag, keep_deferred=True)
    origin = _origin(raw)
    if origin is None:
        return _made(dataset, tag, raw, bulk_root, seen)
    if origin not in seen:
        seen[origin] = _made(dataset, tag, raw, bulk_root, seen)
    return seen[origin]


def _origin(raw: DataElement | RawDataElement | None) -> Origin | None:
    """What makes an element the same as another, whatever stands around it: not its character set, nor its creator."""
    if not isinstance(raw, RawDataElement) or raw.tag.is_private:
        return None
    vr, value = raw.VR or _only_vr(raw.tag), raw.value
    if vr in BULK_VRS or vr in ("", "SQ") or value is None or len(value) > BULK_BYTES:
        return None
    return (raw.tag, vr, raw.is_little_endian, value) if value.isascii() and b"\x1b" not in value else None


@cache
def _only_vr(tag: BaseTag) -> str:
    """The VR of a tag in Implicit VR, '' where another attribute decides."""
    vr = dictionary_VR(tag) if dictionary_has_tag(tag) else ""
    return "" if " or " in vr else vr


def _made(
    dataset: Dataset, tag: BaseTag, raw: DataElement | RawDataElement | None, bulk_root: str | None, seen: Seen
) -> Element:
    vr = _vr(raw, tag)
    if vr in BULK_VRS and (bulk_root is None or tag in PIXEL_DATA or _length(raw) > BULK_BYTES):
        return {"vr": vr} if bulk_root is None else {"vr": vr, "BulkDataURI": f"{bulk_root}{tag:08X}"}
    try:
        element = dataset[tag]
        if element.VR != "SQ":
            return _plain(element)
        root = bulk_root and f"{bulk_root}{tag:08X}/"
        items = [
            dicom_json(item, bulk_root=root and f"{root}{number}/", seen=seen)
            for number, item in enumerate(element.value)
        ]
    except (*UNREADABLE, OSError):
        return {"vr": vr}
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}


def _plain(element: DataElement) -> Element:
    answer = element.to_json_dict(None, 0)
    if "Value" in answer:
        if any(isinstance(each, bytes) for each in answer["Value"]):
            raise ValueError("bytes where the VR promises text or numbers")
        answer["Value"] = [_finite(each) for each in answer["Value"]]
    return answer


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become strings. An empty one of several values is null (PS3.18 F.2.5)."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return None if value == "" else value


def _vr(raw: DataElement | RawDataElement | None, tag: BaseTag) -> str:
    if raw is not None and raw.VR:
        return str(raw.VR)
    try:
        return dictionary_VR(tag).split()[-1]  # 'OB or OW' in Implicit VR is OW (PS3.5 A.1)
    except KeyError:
        return "UN"


def _length(raw: DataElement | RawDataElement | None) -> int:
    if isinstance(raw, RawDataElement):
        return raw.length
    return len(raw.value or b"") if raw is not None else 0
