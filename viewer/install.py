"""OHIF from its npm package, its digest checked, trimmed, fitted to /ohif/, minified: `python viewer/install.py`.

npm decides where the package comes from; the digest decides whether it is the one that was tried. What it is told of
sources and behaviour is ours: services/gateway/static/viewer.js, which the gateway serves as its app-config.js.
"""

import base64
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "@ohif/app"
VERSION = "3.13.2"
SHA512 = "WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="

FOLDER = Path(__file__).resolve().parents[1] / "build" / "ohif"
ROOT = "/ohif/"
STAMP = "vigie.json"
MINIFIER = [Path(__file__).with_name(name) for name in ("package.json", "package-lock.json")]
"""Of esbuild; npm checks it by the digests in the lock file."""

# Neural networks, microscopy, service workers, other hosts' scripts, examples: nothing of it is used here.
UNUSED = (
    "ort", "dicom-microscopy-viewer", "customizations", "sw.js", "init-service-worker.js", "google.js", "app-config.js",
    "oidc-client.min.js", "silent-refresh.html", "polyfill.min.js", "es6-shim.min.js", "manifest.json", "serve.json",
    "_headers", "_redirects",
)  # fmt: skip
_PUBLIC_PATH = '__webpack_require__.p = "/"'
_BUNDLES_WITH_IT = 8
_STYLE_NAME = 'return "" + chunkId + ".css"'
_COMPRESSED = {".js", ".css", ".wasm", ".svg"}

INDEX = """\
<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width,initial-scale=1">
  <title>Viewer - Vigie</title>
  <link rel="icon" href="/static/vigie.svg" type="image/svg+xml">
  <script src="{root}app-config.js"></script>
  <script defer src="{root}{script}"></script>
  <link href="{root}{style}" rel="stylesheet">
</head>
<body>
  <noscript>The viewer needs JavaScript.</noscript>
  <div id="react-portal"></div>
  <div id="root"></div>
</body>
</html>
"""


class NotInstalled(Exception):
    """Why the viewer is not there; the text is for the person who typed the command."""


def install(folder: Path) -> bool:
    """Install into a folder, whole or not at all. False: this version is there already. Raises NotInstalled."""
    stamp = {
        "package": PACKAGE,
        "version": VERSION,
        "sha512": SHA512,
        "installer": _digest(b"".join(path.read_bytes() for path in (Path(__file__), *MINIFIER))),
    }
    if (folder / STAMP).is_file() and json.loads((folder / STAMP).read_text()) == stamp:
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        unpacked = _unpack(_fetch(Path(work)), Path(work))
        _trim(unpacked)
        _fit(unpacked)
        _minify(unpacked, Path(work) / "minifier")
        _compress(unpacked)
        (unpacked / STAMP).write_text(json.dumps(stamp))
        shutil.rmtree(folder, ignore_errors=True)
        unpacked.rename(folder)
    return True


def _fetch(folder: Path) -> Path:
    _npm("pack", f"{PACKAGE}@{VERSION}", "--pack-destination", str(folder), what=f"{PACKAGE}@{VERSION}")
    (package,) = folder.glob("*.tgz")
    if _digest(package.read_bytes()) != SHA512:
        raise NotInstalled(f"{PACKAGE}@{VERSION} is not the package that was tried here: its SHA-512 differs")
    return package


def _npm(*words: str, what: str) -> None:
    try:
        done = subprocess.run(["npm", *words, "--silent"], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise NotInstalled("npm is needed to fetch the viewer (Debian: apt-get install npm)") from error
    if done.returncode != 0:
        raise NotInstalled(f"npm could not fetch {what}: {done.stderr.strip()}")


def _unpack(package: Path, folder: Path) -> Path:
    with tarfile.open(package) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package" / "dist"


def _trim(folder: Path) -> None:
    for name in UNUSED:
        place = folder / name
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    for path in folder.rglob("*.map"):
        path.unlink()


def _fit(folder: Path) -> None:
    """The package is built for the root of a host: have it look below /ohif/."""
    changed = 0
    for path in folder.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        if _PUBLIC_PATH in text:
            path.write_text(text.replace(_PUBLIC_PATH, f'__webpack_require__.p = "{ROOT}"'), encoding="utf-8")
            changed += 1
    if changed != _BUNDLES_WITH_IT:
        raise NotInstalled(
            f"{changed} bundles of OHIF name their path, not {_BUNDLES_WITH_IT}: it is built otherwise now"
        )
    (script,), (style,) = folder.glob("app.bundle.*.js"), folder.glob("app.bundle.css")
    text = script.read_text(encoding="utf-8")
    if _STYLE_NAME not in text:
        raise NotInstalled("OHIF names its styles otherwise now")
    # as scripts' names do, so that a browser need not ask for them at each opening
    script.write_text(text.replace(_STYLE_NAME, f'{_STYLE_NAME} + "?of={VERSION}"'), encoding="utf-8")
    for path in folder.glob("*.css"):
        path.write_text(path.read_text(encoding="utf-8").replace("url(/", f"url({ROOT}"), encoding="utf-8")
    (folder / "index.html").write_text(INDEX.format(root=ROOT, script=script.name, style=style.name))


def _minify(folder: Path, work: Path) -> None:
    """The package's scripts come with their comments and indents, and a browser reads all of it at each opening."""
    work.mkdir()
    for path in MINIFIER:
        shutil.copy(path, work)
    _npm("ci", "--prefix", str(work), "--ignore-scripts", "--no-audit", "--no-fund", what="esbuild")
    scripts = [str(path) for path in folder.glob("*.bundle*.js")]
    # names of functions and classes are kept: VTK and Cornerstone go by them
    how = ["--minify", "--keep-names", "--charset=utf8", "--legal-comments=eof", "--log-level=error"]
    command = [work / "node_modules" / ".bin" / "esbuild", *how, "--allow-overwrite", f"--outdir={folder}", *scripts]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotInstalled(f"esbuild could not minify OHIF: {done.stderr.strip()}")


def _compress(folder: Path) -> None:
    """Once here, instead of at each request: the largest bundle has 8 MB."""
    for path in [one for one in folder.rglob("*") if one.suffix in _COMPRESSED]:
        small = gzip.compress(path.read_bytes(), mtime=0)
        path.with_name(path.name + ".gz").write_bytes(small)


def _digest(content: bytes) -> str:
    return base64.b64encode(hashlib.sha512(content).digest()).decode()


def main() -> None:
    """Install into the folder that is named, or where the gateway looks for it."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("VIGIE_VIEWER", FOLDER))
    try:
        new = install(folder)
    except NotInstalled as error:
        print(f"The viewer is not installed: {error}", file=sys.stderr)
        sys.exit(1)
    print(f"OHIF {VERSION} is in {os.path.relpath(folder)}{'' if new else ' already'}")


if __name__ == "__main__":
    main()
