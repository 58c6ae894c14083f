"""pylibjpeg's RLE decoder for pydicom, with its panics as errors.

It is written in Rust: what it did not foresee it raises as a `PanicException`, which is no `Exception`, so that it
would end a thread or a process that is ready for any broken frame. Import this module before anything is decoded.
"""

from pydicom.pixels.decoders import pylibjpeg
from pydicom.pixels.decoders.base import DecodeRunner, RLELosslessDecoder

DECODER_DEPENDENCIES = pylibjpeg.DECODER_DEPENDENCIES
is_available = pylibjpeg.is_available


def decode_frame(source: bytes, runner: DecodeRunner) -> bytearray:
    """One frame. Raises ValueError too, where the decoder panics."""
    try:
        return pylibjpeg._decode_frame(source, runner)
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ != "PanicException":
            raise
        raise ValueError("the RLE decoder has given up") from error


# the first that decodes is taken: pydicom's own, many times slower, must stay behind
for _label, _place in (
    ("pylibjpeg", (__name__, "decode_frame")),
    ("pydicom", ("pydicom.pixels.decoders.rle", "_decode_frame")),
):
    RLELosslessDecoder.remove_plugin(_label)
    RLELosslessDecoder.add_plugin(_label, _place)
