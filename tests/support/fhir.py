"""A real FHIR server for tests: Medplum's, in memory, on node."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

_SOURCE = Path(__file__).parent / "fhir_server"


@dataclass(frozen=True)
class FhirServer:
    """One that runs; what it holds, as anybody would ask for it."""

    url: str

    def all(self, kind: str) -> list[dict[str, Any]]:
        """Every resource of a kind."""
        answer = httpx.get(f"{self.url}/{kind}", params={"_count": 100}, trust_env=False).raise_for_status().json()
        return [entry["resource"] for entry in answer.get("entry", [])]

    def one(self, kind: str) -> dict[str, Any]:
        """The only resource of a kind."""
        (found,) = self.all(kind)
        return found

    def versions(self, resource: dict[str, Any]) -> int:
        """How often a resource was written."""
        url = f"{self.url}/{resource['resourceType']}/{resource['id']}/_history"
        return len(httpx.get(url, trust_env=False).raise_for_status().json()["entry"])

    def put(self, resource: dict[str, Any]) -> None:
        """Change a resource, as its owner would."""
        url = f"{self.url}/{resource['resourceType']}/{resource['id']}"
        httpx.put(url, json=resource, trust_env=False).raise_for_status()


def install_fhir_server(folder: Path) -> Path:
    """The program and its packages, in a folder of their own."""
    npm = shutil.which("npm")
    assert npm, "npm is needed: apt-get install npm"
    shutil.copytree(_SOURCE, folder)
    install = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--silent"]
    subprocess.run(install, cwd=folder, check=True)
    return folder


@contextmanager
def fhir_server(installed: Path) -> Iterator[FhirServer]:
    """Run an empty one until the end of the block."""
    command = ["node", "server.mjs"]
    with subprocess.Popen(command, cwd=installed, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield FhirServer(f"http://127.0.0.1:{int(process.stdout.readline())}/fhir")
        finally:
            process.kill()
