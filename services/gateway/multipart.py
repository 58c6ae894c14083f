"""The parts of a multipart/related body, one at a time: a request may be a study, so it is never held as a whole."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser

MEDIA_TYPE = "multipart/related"


@dataclass(kw_only=True)
class Part:
    """One part. `content` is empty when it was larger than allowed."""

    content: bytearray = field(default_factory=bytearray)
    too_large: bool = False


class MalformedBody(Exception):
    """The body is not what its boundary says."""


class PartReader:
    """Feed it chunks; it yields the parts that a chunk completes. `complete`: the closing boundary was seen."""

    def __init__(self, boundary: bytes, *, max_part_bytes: int) -> None:
        self.complete = False
        self._max_part_bytes = max_part_bytes
        self._part = Part()
        self._done: list[Part] = []
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_part_data": self._data,
                "on_part_end": lambda: self._done.append(self._part),
                "on_end": self._end,
            },
        )

    def feed(self, chunk: bytes) -> Iterator[Part]:
        """Take the next bytes of the body. Raises MalformedBody."""
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise MalformedBody("the body does not follow its boundary") from error
        done, self._done = self._done, []
        yield from done

    def _begin(self) -> None:
        self._part = Part()

    def _data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        part.too_large = part.too_large or len(part.content) + end - start > self._max_part_bytes
        if part.too_large:
            part.content.clear()
        else:
            part.content += data[start:end]

    def _end(self) -> None:
        self.complete = True
