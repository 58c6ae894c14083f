"""How to reach the broker: URL, TLS, and a bound on everything that is waited for."""

import ssl
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pika

from services.triage.errors import QueueRefused

HEARTBEAT_S = 20
"""A silent broker is noticed after this and five seconds more; `?heartbeat=` in the URL says otherwise."""

CONNECT_S = 10.0
"""Longest wait for a connection with its TLS and AMQP handshakes."""


def connection_parameters(
    url: str, *, ca: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> pika.ConnectionParameters:
    """From `VIGIE_BROKER_...`. Raises QueueRefused; no text of an error here holds the password."""
    try:
        parameters = pika.URLParameters(url)
    except (ValueError, TypeError, AttributeError):
        # pika's own text may quote a password that has a slash in it
        raise QueueRefused(
            "VIGIE_BROKER_URL must read amqp[s]://USER:PASSWORD@HOST:PORT/VHOST, special characters percent-encoded"
        ) from None
    secure = urlsplit(url).scheme == "amqps"
    if secure:
        parameters.ssl_options = pika.SSLOptions(_tls(ca, certificate, key), server_hostname=parameters.host)
    elif ca or certificate:
        raise QueueRefused("VIGIE_BROKER_CA and _CERTIFICATE need an amqps:// URL: by amqp:// nothing would be checked")
    if "heartbeat" not in parse_qs(urlsplit(url).query):
        parameters.heartbeat = HEARTBEAT_S
    parameters.socket_timeout = parameters.stack_timeout = CONNECT_S
    parameters.client_properties = {"connection_name": "vigie"}
    return parameters


def _tls(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate:
            context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        raise QueueRefused(f"VIGIE_BROKER_CA, _CERTIFICATE or _KEY cannot be used: {error.strerror}") from error
    return context
