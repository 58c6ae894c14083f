"""A certification authority for tests, and the certificates that it gives."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key


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

    def certificate(self, name: str, *, until: datetime | None = None) -> Certificate:
        """For a host name or an IP address."""
        given = self._authority.issue_cert(name, key_type=trustme.KeyType.RSA, not_after=until)
        files = Certificate(certificate=self._folder / f"{name}.pem", key=self._folder / f"{name}.key")
        given.cert_chain_pems[0].write_to_path(files.certificate)
        given.private_key_pem.write_to_path(files.key)
        return files

    def revocation_list(
        self, *revoked: Certificate, since: timedelta = -timedelta(hours=1), until: timedelta = timedelta(days=1)
    ) -> bytes:
        """Those that it takes back (RFC 5280 5), as PEM; in force between these two, from now."""
        now = datetime.now(UTC)
        issuer = x509.load_pem_x509_certificate(self._authority.cert_pem.bytes())
        key = load_pem_private_key(self._authority.private_key_pem.bytes(), password=None)
        assert isinstance(key, RSAPrivateKey)
        made = x509.CertificateRevocationListBuilder(
            issuer_name=issuer.subject, last_update=now + since, next_update=now + until
        )
        for each in revoked:
            number = x509.load_pem_x509_certificate(each.certificate.read_bytes()).serial_number
            made = made.add_revoked_certificate(
                x509.RevokedCertificateBuilder(serial_number=number, revocation_date=now + since).build()
            )
        return made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
