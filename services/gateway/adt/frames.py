"""The minimal lower layer protocol (HL7 v2 appendix C, MLLP release 1): <VT> message <FS> <CR>."""

import asyncio

import structlog

from services.triage.errors import MessageRefused

log = structlog.get_logger(__name__)

MAX_MESSAGE_BYTES = 1 << 20
MESSAGE_WITHIN_S = 30.0
"""A message that has begun must have come to its end after so long; between messages a connection may be silent."""

_START, _END = b"\x0b", b"\x1c\r"


class MessageTooLong(MessageRefused):
    """`beginning`: what came of it. The connection cannot be used any more."""

    def __init__(self, beginning: bytes, *, limit: int) -> None:
        super().__init__("too_long", f"the message is longer than {limit} bytes", condition=207)
        self.beginning = beginning


async def next_message(
    reader: asyncio.StreamReader, *, limit: int = MAX_MESSAGE_BYTES, within_s: float = MESSAGE_WITHIN_S
) -> bytes | None:
    """The next message; None when none can come any more: the connection ends, or nothing on it does.

    What stands outside of a frame is skipped, and so is a message that its sender began anew. limit: that of the
    reader. Raises MessageTooLong.
    """
    try:
        await reader.readuntil(_START)
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError:
        log.warning("adt_no_frame", bytes=limit)
        return None
    try:
        async with asyncio.timeout(within_s):
            block = await reader.readuntil(_END)
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError as error:
        raise MessageTooLong(await reader.read(error.consumed), limit=limit) from error
    except TimeoutError:
        log.warning("adt_unfinished", after_s=within_s)
        return None
    return block.removesuffix(_END).rpartition(_START)[2]
