"""Where DICOMweb is: one root for all of it, and an older one whose links still work."""

from fastapi import Request

ROOT = "/dicomweb"

ALIAS = "/dicom-web"
"""Where QIDO-RS and WADO-RS were alone once; addresses in an answer are below the root that was asked."""


def is_dicomweb(path: str) -> bool:
    """Whether a path is below one of the roots."""
    return path.startswith((f"{ROOT}/", f"{ALIAS}/"))


def root_url(request: Request) -> str:
    """The root that was asked, as this caller reaches us."""
    root = ALIAS if request.url.path.startswith(f"{ALIAS}/") else ROOT
    return f"{request.url.scheme}://{_authority(request)}{root}"


def _authority(request: Request) -> str:
    """The Host that the caller named; some (dicomweb-client) leave out its port, which a proxy may do rightly."""
    is_direct = not any(name in request.headers for name in ("forwarded", "via", "x-forwarded-for"))
    _, port = request.scope.get("server") or ("", None)
    return f"{request.url.netloc}:{port}" if port and is_direct and request.url.port is None else request.url.netloc
