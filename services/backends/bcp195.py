"""TLS as DICOM has it: the BCP 195 profile of RFC 8996 and RFC 9325 (PS3.15 B.12), for both ends of our connections."""

import ssl
from pathlib import Path

# RFC 9325 4.2: forward secrecy and authenticated encryption, or TLS 1.3, whose suites are all of that kind. Keys and
# signatures of 112 bits at least (4.4, 4.5).
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"
_CRL = b"-----BEGIN X509 CRL-----"


def apply_profile(context: ssl.SSLContext) -> None:
    """TLS 1.2 or newer (3.1.1), no renegotiation (3.5) or compression (3.3), only suites that are recommended (4.2)."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION


def trust(context: ssl.SSLContext, ca: Path) -> None:
    """Check the other end by these certificates; where the file has their lists of revoked ones, too (RFC 9325 7.5).

    OCSP is not asked: the answer would have to come from outside while a sender waits. Raises OSError, ValueError.
    """
    context.load_verify_locations(ca)
    if _CRL in ca.read_bytes():
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
