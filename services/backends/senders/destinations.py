"""Where results go, as a person writes it: `AET@HOST:PORT`, `https://HOST/PATH`, or a folder."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from services.backends.hosts import require_no_link_local
from services.triage.result import Destination

DICOM = "dicom"
DICOMWEB = "dicomweb"
FOLDER = "folder"

_FOLDER_PREFIXES = ("/", "./", "../", "~/", "file:")
_WEB_PREFIXES = ("http://", "https://")
_ADDRESS = re.compile(r"(?P<ae_title>[^@]*)@(?P<host>\[[^\]]*\]|[^:]*):(?P<port>[^:]*)")
# PS3.5 table 6.2-1, VR AE: at most 16 characters of the default repertoire, no backslash, not only spaces
_AE_TITLE = re.compile(r"(?=.*[^ ])[ -\[\]-~]{1,16}")


def parse_destination(text: str) -> Destination:
    """Read a destination.

    - `AET@HOST:PORT`: C-STORE; an IPv6 address in brackets;
    - `https://HOST[:PORT]/PATH` or `http://...`: STOW-RS, the root of a DICOMweb service (`/studies` is added);
      credentials are never part of it (setting `stow_credentials`);
    - `/...`, `./...`, `../...`, `~/...`, `file:...`: a folder.

    The name is the normalised address, so that it stays the same over restarts. Raises ValueError, which says
    what is wrong.
    """
    text = text.strip()
    if text.startswith(_FOLDER_PREFIXES):
        folder = str(Path(text.removeprefix("file:").replace("//", "/")).expanduser().resolve())
        return Destination(name=folder, kind=FOLDER, address=folder)
    if text.lower().startswith(_WEB_PREFIXES):
        root = _web_root(text)
        return Destination(name=root, kind=DICOMWEB, address=root)
    ae_title, host, port = split_address(text)
    address = f"{ae_title}@[{host}]:{port}" if ":" in host else f"{ae_title}@{host}:{port}"
    return Destination(name=address, kind=DICOM, address=address)


def split_address(text: str) -> tuple[str, str, int]:
    """AE title, host and port of `AET@HOST:PORT`. Raises ValueError."""
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError(
            f"'{text}' is no destination: write AET@HOST:PORT (an IPv6 address as AET@[::1]:PORT), "
            "https://HOST/PATH, or a folder that starts with / or ./"
        )
    ae_title, host, port = match["ae_title"].strip(), match["host"].strip("[]"), match["port"]
    try:
        check_ae_title(ae_title)
    except ValueError as error:
        raise ValueError(f"'{text}': {error}") from error
    if not host:
        raise ValueError(f"'{text}': the host is missing")
    if not (port.isascii() and port.isdecimal() and 1 <= int(port) <= 65535):
        raise ValueError(f"'{text}': the port must be a number from 1 to 65535")
    return ae_title, host, int(port)


def check_ae_title(text: str) -> str:
    """The title itself. Raises ValueError."""
    if not _AE_TITLE.fullmatch(text):
        raise ValueError("the AE title must have 1 to 16 ASCII characters and no backslash")
    return text


def _web_root(text: str) -> str:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError("a DICOMweb destination cannot be read: write https://HOST[:PORT]/PATH") from error
    if parts.username is not None or parts.password is not None:
        # and the text is not repeated: it holds a secret
        raise ValueError("a destination holds no credentials: put them into the file of VIGIE_STOW_CREDENTIALS")
    if not host or parts.query or parts.fragment:
        raise ValueError(f"'{text}' is no DICOMweb root: write https://HOST[:PORT]/PATH")
    require_no_link_local(host)
    place = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{place}{f':{port}' if port else ''}{parts.path.rstrip('/')}"
