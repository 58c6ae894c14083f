"""Where DICOMweb is: one root for all of it, and an older one whose links still work."""

import re

from fastapi import Request

ROOT = "/dicomweb"

ALIAS = "/dicom-web"
"""Where QIDO-RS and WADO-RS were alone once; addresses in an answer are below the root that was asked."""


# everybody's, a tenant's, or a learner's
_BELOW = re.compile(rf"(?:/t/[^/]+|/training)?(?:{ROOT}|{ALIAS})(?=/)")

_STOW = re.compile(r"/studies(?:/[^/]+)?")


def is_dicomweb(path: str) -> bool:
    """Whether a path is below one of the roots."""
    return _BELOW.match(path) is not None


def is_stow(path: str) -> bool:
    """Whether instances are posted there (PS3.18 10.5)."""
    below = _BELOW.match(path)
    return below is not None and _STOW.fullmatch(path, below.end()) is not None


def root_url(request: Request) -> str:
    """The root that was asked, as this caller reaches us."""
    asked = _BELOW.match(request.url.path)
    return f"{request.url.scheme}://{_authority(request)}{asked[0] if asked else ROOT}"


def _authority(request: Request) -> str:
    """The Host that the caller named; some (dicomweb-client) leave out its port, which a proxy may do rightly."""
    is_direct = not any(name in request.headers for name in ("forwarded", "via", "x-forwarded-for"))
    _, port = request.scope.get("server") or ("", None)
    return f"{request.url.netloc}:{port}" if port and is_direct and request.url.port is None else request.url.netloc
