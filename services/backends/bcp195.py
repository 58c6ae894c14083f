"""TLS as DICOM has it: the BCP 195 profile of RFC 8996 and RFC 9325 (PS3.15 B.12), for both ends of our connections."""

import re
import ssl
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from services.triage.errors import CertificatesRefused

# RFC 9325 4.2: forward secrecy and authenticated encryption, or TLS 1.3, whose suites are all of that kind. Keys and
# signatures of 112 bits at least (4.4, 4.5).
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"
_CRL_WORD = b"X509 CRL"
_CRL = re.compile(rb"-----BEGIN X509 CRL-----\r?\n.+?-----END X509 CRL-----", re.DOTALL)
_FOR_EVER = datetime.max.replace(tzinfo=UTC)
_WAY_OUT = "put the authority's newest one there, or take it out of the file: revoked certificates are then accepted"


def apply_profile(context: ssl.SSLContext) -> None:
    """TLS 1.2 or newer (3.1.1), no renegotiation (3.5) or compression (3.3), only suites that are recommended (4.2)."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION


def trust(context: ssl.SSLContext, ca: Path) -> None:
    """Check the other end by these certificates; where the file has their lists of revoked ones, too (RFC 9325 7.5).

    A list that cannot be read or is out of its time lets nobody in (decision 43). OCSP is not asked: the answer would
    have to come from outside while a sender waits. Raises OSError, ValueError, CertificatesRefused (a list).
    """
    lists = _revocation_lists(ca)
    context.load_verify_locations(ca)
    if lists:
        _in_time(lists, ca, now=datetime.now(UTC))
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def revocation_until(ca: Path) -> datetime | None:
    """When the first authority in this file will be without a list in force (its newest nextUpdate, RFC 5280 5.1.2.5).

    None: nobody's list comes to an end, or there are none. Raises OSError, CertificatesRefused.
    """
    until: dict[x509.Name, datetime] = {}
    for each in _revocation_lists(ca):
        end = each.next_update_utc or _FOR_EVER
        until[each.issuer] = max(end, until.get(each.issuer, end))
    first = min(until.values(), default=_FOR_EVER)
    return None if first == _FOR_EVER else first


def _revocation_lists(ca: Path) -> list[x509.CertificateRevocationList]:
    """All that the file means to have: OpenSSL skips a block whose first line it does not know, and trusts on."""
    content = ca.read_bytes()
    blocks = _CRL.findall(content)
    unreadable = CertificatesRefused(
        "unreadable_revocation_list", f"{ca}: a certificate revocation list in it cannot be read; {_WAY_OUT}"
    )
    if content.count(_CRL_WORD) != 2 * len(blocks):
        raise unreadable
    try:
        return [x509.load_pem_x509_crl(each) for each in blocks]
    except ValueError as error:
        raise unreadable from error


def _in_time(lists: list[x509.CertificateRevocationList], ca: Path, *, now: datetime) -> None:
    """Of each authority one is in force now: an older one may stand beside it, as OpenSSL has it (RFC 5280 5.1.2)."""
    of_issuer = defaultdict(list)
    for each in lists:
        of_issuer[each.issuer].append(each)
    for issuer, theirs in of_issuer.items():
        if any(
            each.last_update_utc <= now and (each.next_update_utc is None or now <= each.next_update_utc)
            for each in theirs
        ):
            continue
        newest = max(theirs, key=lambda each: each.last_update_utc)
        until = f"{newest.next_update_utc:%Y-%m-%d %H:%M}" if newest.next_update_utc else "further notice"
        text = (
            f"{ca}: the certificate revocation list of {issuer.rfc4514_string()} is in force from "
            f"{newest.last_update_utc:%Y-%m-%d %H:%M} until {until} (UTC), not now; {_WAY_OUT}"
        )
        raise CertificatesRefused("revocation_list_out_of_time", text)
