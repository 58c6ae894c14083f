"""Hosts that no URL of ours may name, whoever wrote it."""

import ipaddress

# under these clouds give away credentials, beside 169.254.169.254
_METADATA = frozenset({"metadata.google.internal", "fd00:ec2::254"})


def require_no_link_local(host: str) -> None:
    """Refuse an address of the machine's own link (RFC 3927, RFC 4291 2.5.6) in a URL.

    No hospital's server has one, and at 169.254.169.254 clouds give away credentials to whoever is made to ask. Raises
    ValueError.
    """
    try:
        is_link_local = ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_link_local
    except ValueError:  # a name: whose it is, the site's DNS says
        is_link_local = False
    if is_link_local or host.lower() in _METADATA:
        raise ValueError(f"'{host}' is of this machine's link alone, where clouds keep credentials: no server is there")
