"""The viewer below /ohif/: OHIF's files, as `make viewer` installed them, with our own configuration."""

import json
from functools import cache
from pathlib import Path
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from services.gateway.desk import TheDesk
from services.gateway.dicomweb.resource import is_uid
from services.gateway.dicomweb.root import ROOT
from services.gateway.language import noted
from services.gateway.preferences import Keys, preferences
from services.gateway.problems import ProblemError
from services.gateway.verdict_words import viewer_texts
from services.settings import Settings

STATIC = Path(__file__).parent / "static"
CONFIGURATION = ("viewer-bar.js", "viewer.js")
"""Scripts that OHIF is configured by, one after the other in one file."""

# OHIF compiles shaders' and codecs' glue at run time, and styles itself; still nothing from another host. The work list
# frames it.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval' blob:; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' blob: data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
_POLICY = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "X-Frame-Options": "SAMEORIGIN"}
_FOR_EVER = "public, max-age=31536000, immutable"

router = APIRouter(include_in_schema=False)


def is_installed(settings: Settings) -> bool:
    """Whether there is a viewer to link to."""
    return (settings.viewer / "index.html").is_file()


def link_to(
    study_instance_uid: str,
    *,
    series_instance_uid: str | None,
    seg_series_instance_uid: str | None,
    lesion: int | None = None,
) -> str:
    """The address at which a study opens: at its analysed series, with a segmentation over it, at a lesion.

    lesion: its number; None: the first.
    """
    asked = {
        "StudyInstanceUIDs": study_instance_uid,
        "initialSeriesInstanceUID": series_instance_uid,
        "seg": seg_series_instance_uid,
        "segment": lesion,
    }
    return f"/ohif/viewer?{urlencode({name: value for name, value in asked.items() if value})}"


@router.get("/ohif/app-config.js")
def configuration(request: Request) -> Response:
    """What OHIF is told, and the bar in which readers answer, in their language, with single keys or without."""
    told = {"vigieTexts": viewer_texts(), "vigieKeys": preferences(request)["keys"] == Keys.ON}
    said = [f"window.{name} = {json.dumps(value)};" for name, value in told.items()]
    scripts = [*said, *(_read(name) for name in CONFIGURATION)]
    headers = {"Cache-Control": "no-cache", "Vary": "Cookie", **_POLICY}
    return Response("\n".join(scripts), headers=headers, media_type="text/javascript")


@router.get("/ohif/{path:path}")
def viewer(request: Request, desk: TheDesk, path: str) -> Response:
    """A file of OHIF; any other path is a page of it, which its own script tells apart."""
    root = desk.settings.viewer
    if not is_installed(desk.settings):
        raise ProblemError(
            404,
            "no_viewer",
            noted("The viewer is not installed"),
            detail=noted("OHIF is not in the folder that VIGIE_VIEWER names."),
            way_out=noted(
                "Run `make viewer`, or open the study in another viewer: sources and results are at /dicomweb."
            ),
        )
    found = (
        root / path.replace("\0", "")
    ).resolve()  # no file has a NUL in its name, and the system will not hear of one
    if not (found.is_file() and found.is_relative_to(root.resolve())):
        page = _file(root / "index.html", cache_control="no-cache")
        page.headers.update(_early(request) if path == "viewer" else {})
        return page
    # names of scripts hold a digest, what is asked of styles their version
    is_fixed = (".bundle." in found.name and found.suffix == ".js") or (
        found.suffix == ".css" and "of" in request.query_params
    )
    cache_control = _FOR_EVER if is_fixed else "no-cache"
    small = found.with_name(found.name + ".gz")
    if "gzip" in request.headers.get("accept-encoding", "") and small.is_file():
        return _file(small, cache_control=cache_control, media_type=_media_type(found), encoding="gzip")
    return _file(found, cache_control=cache_control, media_type=_media_type(found))


def _early(request: Request) -> dict[str, str]:
    """Have the browser ask for what the viewer will, while it still reads the scripts (RFC 8288, preload)."""
    asked = request.query_params
    study, *series = (asked.get(name, "") for name in ("StudyInstanceUIDs", "initialSeriesInstanceUID", "seg"))
    if not is_uid(study):
        return {}
    early = [f"<{ROOT}/studies/{study}/series/{one}/metadata>" for one in series if is_uid(one)]
    return {"Link": ", ".join(f"{link}; rel=preload; as=fetch; crossorigin" for link in early)} if early else {}


@cache
def _read(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def _media_type(path: Path) -> str | None:
    # not all machines' tables know it, and a browser compiles nothing else while it loads
    return {".wasm": "application/wasm", ".js": "text/javascript", ".css": "text/css"}.get(path.suffix)


def _file(path: Path, *, cache_control: str, media_type: str | None = None, encoding: str | None = None) -> Response:
    headers = {"Cache-Control": cache_control, "Vary": "Accept-Encoding", **_POLICY}
    if encoding:
        headers["Content-Encoding"] = encoding
    return FileResponse(path, headers=headers, media_type=media_type)
