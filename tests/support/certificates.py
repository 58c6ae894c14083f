"""A certification authority for tests, and the certificates that it gives."""

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """PEM files of a certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """Gives certificates; `ca` is the PEM file that they are checked by."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder, self._authority = folder, trustme.CA(key_type=trustme.KeyType.RSA)
        self.ca = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(self.ca)

    def certificate(self, name: str) -> Certificate:
        """For a host name or an IP address."""
        given = self._authority.issue_cert(name, key_type=trustme.KeyType.RSA)
        files = Certificate(certificate=self._folder / f"{name}.pem", key=self._folder / f"{name}.key")
        given.cert_chain_pems[0].write_to_path(files.certificate)
        given.private_key_pem.write_to_path(files.key)
        return files
