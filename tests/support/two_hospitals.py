"""Two hospitals at one Vigie: a file of tenants, a PACS for each, and dcmtk's storescu as their scanners."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.peers import free_port, storescp

TENANTS = """
[a]
called_ae_titles = ["VIGIE_A"]
calling_ae_titles = ["CT_A"]
issuer_of_patient_id = "HOSPITAL-A"
destinations = ["pacs-a"]

[b]
called_ae_titles = ["VIGIE_B"]
issuer_of_patient_id = "HOSPITAL-B"
destinations = ["pacs-b"]
stow = true
"""


@dataclass(frozen=True, kw_only=True)
class Hospitals:
    """`settings`: by name, as `standalone` and `open_door` take them. a, b: what each one's PACS has received."""

    settings: dict[str, str]
    a: Path
    b: Path


def write_files(folder: Path, a: str, b: str, *, tenants: str = TENANTS) -> dict[str, str]:
    """The files of tenants and of destinations (addresses a, b); answers the settings that name them."""
    files = {
        "tenants": tenants,
        "destinations": f'[pacs-a]\naddress = "{a}"\ncalling_ae_title = "VIGIE_A"\n[pacs-b]\naddress = "{b}"\n',
    }
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text)
    return {name: str(folder / f"{name}.toml") for name in files}


@contextmanager
def two_hospitals(folder: Path) -> Iterator[Hospitals]:
    """Run both PACSs until the end of the block."""
    a, b = folder / "pacs_a", folder / "pacs_b"
    with storescp(a, free_port()) as address_a, storescp(b, free_port()) as address_b:
        yield Hospitals(settings=write_files(folder, address_a, address_b), a=a, b=b)


def dcmtk(program: str, port: int, *, called: str, calling: str, files: Sequence[Path] = ()) -> str:
    """Run echoscu or storescu; answers what it says, '' when all went well."""
    found = shutil.which(program)
    assert found, "dcmtk is needed: apt-get install dcmtk"
    command = [found, "-v", "-aec", called, "-aet", calling, "127.0.0.1", str(port), *map(str, files)]
    if program == "storescu":
        command.insert(1, "--no-halt")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    told = done.stdout + done.stderr
    answers = [line for line in told.splitlines() if "Response (" in line]
    return told if done.returncode or not answers or any("(Success)" not in line for line in answers) else ""
