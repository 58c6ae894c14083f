"""ResultSender to a DICOMweb server: STOW-RS (PS3.18 section 10.5), all objects of a result in one request."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from services.backends.oauth2 import Tokens
from services.backends.senders.link import Tls
from services.backends.senders.status import all_of, judge
from services.backends.web import auth_from, credentials, post
from services.triage.errors import DestinationRefused, DestinationUnavailable

_DICOM_JSON = "application/dicom+json"
_CHUNK_BYTES = 1 << 20
_FAILED, _OTHER_FAILURES, _REFERENCED = "00081198", "0008119A", "00081199"
_SOP_INSTANCE_UID, _FAILURE_REASON = "00081155", "00081197"
_NO_REASON = 0x0110  # processing failure: what a server means that names none

Instance = tuple[str, str, Path]


@dataclass(frozen=True, kw_only=True)
class StowSender:
    """Sends to the DICOMweb service whose root is `url`.

    ca: certificates (PEM) to check the server's by, instead of the machine's. credentials: a TOML file with a table per
    root, `["https://HOST/PATH"]`, of `token`, of `user` and `password`, or of `token_url`, `client_id`, `client_secret`
    and perhaps `scope` (OAuth 2.0); read at each sending, so that it may change.
    """

    url: str
    ca: Path | None = None
    credentials: Path | None = None
    _tokens: Tokens = field(default_factory=Tokens, init=False, repr=False, compare=False)

    def send(self, files: Sequence[Instance]) -> None:
        """See ResultSender. Nothing but the frozen bytes is sent; redirects are not followed, proxies not used."""
        boundary = uuid4().hex
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            # not chunked: some servers take no body of unknown length
            "Content-Length": str(sum(len(piece) for piece in _frame(boundary, files)) + _size(files)),
            "Accept": _DICOM_JSON,
        }
        answer = post(
            f"{self.url}/studies",
            content=_Body(boundary, files),
            headers=headers,
            peer=self.url,
            tls=Tls(ca=self.ca).context(),
            auth=auth_from(credentials(self.credentials, self.url), tokens=self._tokens),
        )
        _judge(answer, self.url, files)


def _frame(boundary: str, files: Sequence[Instance]) -> Iterator[bytes]:
    """What stands before each file, and at the end."""
    for number in range(len(files)):
        start = b"\r\n" if number else b""
        yield start + f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    yield f"\r\n--{boundary}--\r\n".encode()


def _size(files: Sequence[Instance]) -> int:
    return sum(path.stat().st_size for _, _, path in files)


class _Body:
    """The files from disk, never a whole one in memory; again from the start, where a request is made again."""

    def __init__(self, boundary: str, files: Sequence[Instance]) -> None:
        self._boundary, self._files = boundary, files

    def __iter__(self) -> Iterator[bytes]:
        frame = _frame(self._boundary, self._files)
        for _, _, path in self._files:
            yield next(frame)
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    yield chunk
        yield next(frame)


def _judge(answer: httpx.Response, url: str, files: Sequence[Instance]) -> None:
    """Return if the server has every object (PS3.18 tables 10.5.3-1 and 10.5.3-2).

    Raises DestinationUnavailable, DestinationRefused.
    """
    status = answer.status_code
    if status == httpx.codes.OK and not answer.content:
        return
    found = _dataset(answer)
    reasons = {_text(item, _SOP_INSTANCE_UID): _reason(item) for item in _items(found, _FAILED)}
    others = [_reason(item) for item in _items(found, _OTHER_FAILURES)]
    stored = {_text(item, _SOP_INSTANCE_UID) for item in _items(found, _REFERENCED)}
    if not reasons and not others and not answer.is_success:
        raise DestinationRefused("store_refused", f"{url} answered HTTP {status}")
    refusals: list[DestinationRefused] = []
    taken: list[str] = []
    not_now: DestinationUnavailable | None = None
    for sop_class, uid, _ in files:
        # a failure without a UID is one of those that are named nowhere
        unnamed = next(iter(others), _NO_REASON) if uid not in stored and (others or status != httpx.codes.OK) else 0
        try:
            judge(reasons.get(uid, unnamed), url, sop_class)
            taken.append(uid)
        except DestinationRefused as refusal:
            refusals.append(refusal)
        except DestinationUnavailable as error:
            not_now = error
    if not_now is not None:
        raise DestinationUnavailable(str(not_now), taken=taken)
    if refusals:
        raise all_of(refusals, of=len(files))


def _dataset(answer: httpx.Response) -> dict[str, Any]:
    """The Store Instances Response Module in the DICOM JSON model; empty when the answer is none."""
    try:
        found = answer.json()
    except ValueError:
        return {}
    found = found[0] if isinstance(found, list) and found else found
    return found if isinstance(found, dict) else {}


def _items(found: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    values = found.get(tag, {}).get("Value", []) if isinstance(found.get(tag), dict) else []
    return [item for item in values if isinstance(item, dict)]


def _text(item: dict[str, Any], tag: str) -> str:
    return str(next(iter(item.get(tag, {}).get("Value", [])), ""))


def _reason(item: dict[str, Any]) -> int:
    text = _text(item, _FAILURE_REASON)
    return int(text) if text.isdecimal() else _NO_REASON
