"""ResultSender to a DICOMweb server: STOW-RS (PS3.18 section 10.5), all objects of a result in one request."""

import ssl
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from services.backends.senders.oauth2 import ClientCredentials, Grant, Tokens, authorized
from services.backends.senders.status import all_of, judge
from services.triage.errors import DestinationRefused, DestinationUnavailable

_DICOM_JSON = "application/dicom+json"
_CHUNK_BYTES = 1 << 20
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_FAILED, _OTHER_FAILURES, _REFERENCED = "00081198", "0008119A", "00081199"
_SOP_INSTANCE_UID, _FAILURE_REASON = "00081155", "00081197"
_NO_REASON = 0x0110  # processing failure: what a server means that names none
# It is not the object that these refuse: credentials, proxy, timeout, too early, too many. A person or time mends them.
_NOT_NOW = frozenset({401, 403, 407, 408, 425, 429})

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
        auth = self._auth()
        try:
            with httpx.Client(verify=self._tls(), auth=auth, timeout=_TIMEOUT, trust_env=False) as client:
                answer = client.post(f"{self.url}/studies", content=_Body(boundary, files), headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            if isinstance(auth, ClientCredentials):
                # whoever refuses a token may hang up before the body is over: the next try has another
                self._tokens.drop(auth.grant)
            # its text may quote what a server sent
            raise DestinationUnavailable(f"{self._failing(error)} cannot be reached: {type(error).__name__}") from error
        _judge(answer, self.url, files)

    def _failing(self, error: Exception) -> str:
        """Whom an exchange failed with: this server, or the one that gives its tokens."""
        try:
            asked = error.request.url if isinstance(error, httpx.RequestError) else httpx.URL(self.url)
        except RuntimeError:  # no request was made yet
            return self.url
        return self.url if asked.host == httpx.URL(self.url).host else f"the authorization server at {asked.host}"

    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca)

    def _auth(self) -> httpx.Auth | None:
        if self.credentials is None:
            return None
        try:
            mine = tomllib.loads(self.credentials.read_text()).get(self.url, {})
        except (OSError, ValueError) as error:
            raise DestinationUnavailable(f"the file of credentials cannot be read: {type(error).__name__}") from error
        if "token_url" in mine:
            return ClientCredentials(grant=Grant.of(mine), tokens=self._tokens)
        if "token" in mine:
            return _Bearer(str(mine["token"]))
        return httpx.BasicAuth(str(mine["user"]), str(mine.get("password", ""))) if "user" in mine else None


class _Bearer(httpx.Auth):
    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]
        yield authorized(request, self._token)


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
    if answer.is_server_error or status in _NOT_NOW:
        raise DestinationUnavailable(f"{url} answered HTTP {status}")
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
