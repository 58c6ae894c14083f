"""A hook of schemathesis: how it sends what it makes up for STOW-RS, of whose multipart/related it knows nothing."""

from typing import Any

from schemathesis.transport import register_serializer
from schemathesis.transport.serialization import serialize_binary

_TYPE = 'multipart/related; type="application/dicom"; boundary=x'


def _as_one_part(_context: Any, value: Any) -> dict[str, Any]:
    content = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + serialize_binary(value) + b"\r\n--x--\r\n"
    return {"data": content, "headers": {"Content-Type": _TYPE}}


register_serializer(_as_one_part, "multipart/related")
