"""Whether each answer was true: what was accepted is kept byte for byte, what was refused is in quarantine."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fuzz.cases import Case
from fuzz.service import MAX_INSTANCE_MB, Service
from fuzz.tally import Tally
from fuzz.watch import SETTLED_WITHIN_S
from services.backends.part10 import open_part10
from tests.support.peers import wait_until

_CODE = re.compile(r"[a-z][a-z_]+")
_STATUSES = frozenset({0x0000, 0xC000, 0xA900})


def settle(service: Service, tally: Tally) -> None:
    """Wait until the dispatcher has recorded all that is kept."""
    try:
        wait_until(lambda: not any(service.files.pending()), timeout_s=SETTLED_WITHIN_S, what="the dispatcher")
    except TimeoutError:
        for file in service.files.pending():
            content = service.files.path(file.digest).read_bytes()
            tally.found("an instance that the dispatcher does not settle", made=file.digest, content=content)
        if any((service.data / "inbox").glob("*.unfinished")):
            tally.found("an unfinished file is left behind")


def judge(service: Service, sent: Sequence[Case], tally: Tally) -> None:
    """Compare each answer with the data folder; counts cases, kept and refused."""
    codes: Counter[str] = Counter()
    for case in sent:
        tally.cases += 1
        if case.status not in _STATUSES:
            status = "nothing" if case.status is None else f"0x{case.status:04X}"
            tally.found(f"answered by {status}", made=case.made, content=case.content)
        elif case.accepted:
            tally.kept += 1
            if not _is_kept(service, case):
                tally.found("accepted, and not kept", made=case.made, content=case.content)
        else:
            codes[_code(service, case, tally)] += 1
    tally.refused += codes
    _clear(service.data / "quarantine")


def _is_kept(service: Service, case: Case) -> bool:
    """Byte for byte, whatever File Meta Information the same data set came with before."""
    try:
        kept = service.files.path(case.digest or "").read_bytes()
    except (FileNotFoundError, ValueError):
        return False
    return kept[open_part10(kept).data_set_offset :] == case.content[open_part10(case.content).data_set_offset :]


def _code(service: Service, case: Case, tally: Tally) -> str:
    """Why it was refused, as the note in quarantine says."""
    note = service.data / "quarantine" / f"{case.sha256}.json"
    if len(case.content) > MAX_INSTANCE_MB * 1_000_000 and not note.exists():
        return "too_large"  # STOW-RS holds no more of it than is allowed
    try:
        code = str(json.loads(note.read_text())["code"])
        same = note.with_suffix(".bin").read_bytes() == case.content
    except (OSError, ValueError, KeyError):
        tally.found("refused, and not in quarantine", made=case.made, content=case.content)
        return "none"
    if not same or not _CODE.fullmatch(code):
        tally.found(f"quarantine is not what was sent, or has no code: {code}", made=case.made, content=case.content)
    return code


def _clear(folder: Path) -> None:
    """A campaign is longer than a disk is large."""
    for path in folder.iterdir():
        path.unlink()
