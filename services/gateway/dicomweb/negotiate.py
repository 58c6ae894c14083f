"""Content negotiation (PS3.18 8.7, RFC 9110 12.5.1): what the caller accepts against what there is."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.request import parse_http_list

from fastapi import Request
from pydicom.uid import ExplicitVRLittleEndian
from python_multipart.multipart import parse_options_header

from services.gateway.problems import ProblemError

MULTIPART = "multipart/related"
DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
JSON = "application/json"
OCTET_STREAM = "application/octet-stream"
JPEG, PNG = "image/jpeg", "image/png"
ANY = "*/*"
_QVALUE = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """One way to answer. `transfer_syntax`: '' where the media type has none. `multipart`: in a part, or bare."""

    media_type: str
    transfer_syntax: str = ""
    multipart: bool = False

    def __str__(self) -> str:
        """As an Accept header would ask for it."""
        syntax = f"; transfer-syntax={self.transfer_syntax}" if self.transfer_syntax else ""
        return (f'{MULTIPART}; type="{self.media_type}"' if self.multipart else self.media_type) + syntax

    @property
    def content_type(self) -> str:
        """Of the part, or of the whole answer when it is bare."""
        return str(Offer(media_type=self.media_type, transfer_syntax=self.transfer_syntax))


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """One media range of an Accept header. `multipart` None: bare or in parts. `transfer_syntax` '': not told."""

    media_type: str
    transfer_syntax: str
    multipart: bool | None
    quality: float

    @property
    def specificity(self) -> int:
        """The most specific range decides over an offer."""
        return 2 * (2 - self.media_type.count("*")) + (self.transfer_syntax not in ("", "*"))

    def accepts(self, offer: Offer) -> bool:
        """Whether the offer is in this range, whatever its quality.

        A transfer syntax that is not told is Explicit VR Little Endian (PS3.18 8.7.3.5), but for a range that names
        images: its syntaxes are those of the media type.
        """
        if self.multipart not in (None, offer.multipart):
            return False
        kind, _, subtype = self.media_type.partition("/")
        offered_kind, _, offered_subtype = offer.media_type.partition("/")
        if kind not in ("*", offered_kind) or subtype not in ("*", offered_subtype):
            return False
        if not offer.transfer_syntax or self.transfer_syntax == "*":
            return True
        if not self.transfer_syntax:
            return kind == "image" or offer.transfer_syntax == ExplicitVRLittleEndian
        return self.transfer_syntax == offer.transfer_syntax


def accepted(request: Request) -> list[Range]:
    """What the request accepts, by the query parameter `accept` (PS3.18 8.3.3) or its headers; none: anything."""
    told = request.query_params.getlist("accept") or request.headers.getlist("accept")
    ranges = [_range(each) for header in told for each in parse_http_list(header)]
    return ranges or [Range(media_type=ANY, transfer_syntax="", multipart=None, quality=1.0)]


def choose(ranges: Sequence[Range], offers: Iterable[Offer]) -> Offer | None:
    """The best offer: by quality, then by the order of the ranges, then by that of the offers. None: none will do."""
    best: tuple[float, int] | None = None
    chosen = None
    for offer in offers:
        fitting = [
            (each.specificity, each.quality, -position) for position, each in enumerate(ranges) if each.accepts(offer)
        ]
        if not fitting:
            continue
        _, quality, order = max(fitting)
        if quality > 0 and (best is None or (quality, order) > best):
            best, chosen = (quality, order), offer
    return chosen


def require_one(ranges: Sequence[Range], offers: Sequence[Offer]) -> Offer:
    """The best offer. Raises ProblemError (406), which says what there is."""
    offer = choose(ranges, offers)
    if offer is None:
        there_is = ", ".join(dict.fromkeys(map(str, offers))) or "nothing"
        raise ProblemError(
            406,
            "not_acceptable",
            "Not acceptable",
            detail="None of the media types and transfer syntaxes that the request accepts can be given.",
            way_out=f"Accept one of: {there_is}.",
        )
    return offer


def require(request: Request, *media_types: str) -> str:
    """The best of these bare media types, the first being the default. Raises ProblemError (406)."""
    return require_one(accepted(request), [Offer(media_type=each) for each in media_types]).media_type


def _range(text: str) -> Range:
    media_type, options = parse_options_header(text)
    told = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in options.items()}
    outer = media_type.decode("latin-1").lower()
    is_multipart = outer in (MULTIPART, "multipart/*")
    inner = told.get("type", ANY) if is_multipart else outer
    return Range(
        media_type=inner.lower(),
        transfer_syntax=told.get("transfer-syntax", ""),
        multipart=True if is_multipart else None if outer == ANY else False,
        quality=_quality(told.get("q", "1")),
    )


def _quality(text: str) -> float:
    """0 where it is not a quality (RFC 9110 12.4.2): that range is left out."""
    return float(text) if _QVALUE.fullmatch(text) else 0.0
