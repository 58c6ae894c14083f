"""`vigie peers check`: the file that names the DICOM peers, as the door reads it."""

from collections.abc import Iterable

import typer
from rich.table import Table

from services.backends.peers_file import load_peers
from services.backends.senders import routes
from services.backends.senders.destinations import DICOM, split_address
from services.cli.flags import settings_from
from services.cli.tables import print_table
from services.settings import Settings
from services.triage.peer import Peer, Peers, PeerTask

app = typer.Typer(help="DICOM AEs that may open an association (VIGIE_PEERS).", no_args_is_help=True)


@app.command()
def check() -> None:
    """Read the file in force as the door does, list who is in it, and say what may be meant otherwise.

    Exit code: 0 it can be used, 2 it cannot, and why.
    """
    settings = settings_from()
    peers = load_peers(settings)
    if peers is None:
        raise typer.BadParameter("VIGIE_PEERS names no file")
    table = Table("Peer", "AE titles", "From", "Certificate", "May", "At most", "Priority")
    for peer in _each(peers):
        table.add_row(
            peer.name,
            ", ".join(sorted(peer.titles)),
            ", ".join(map(str, peer.addresses)) or "anywhere",
            ", ".join(sorted(peer.certificates)) or ("any" if peer.tls else "none asked for"),
            ", ".join(sorted(peer.may)),
            _quota(peer),
            peer.priority.name.lower() if peer.priority is not None else "routine",
        )
    print_table(table)
    for hint in _hints(peers, settings):
        typer.echo(f"Note: {hint}")


def _each(peers: Peers) -> Iterable[Peer]:
    """Each once, in the order of the file."""
    return {peer.name: peer for peer in peers.by_title.values()}.values()


def _quota(peer: Peer) -> str:
    told = {
        "associations": peer.quota.associations,
        "instances/min": peer.quota.instances_per_minute,
        "MB/min": peer.quota.mb_per_minute,
    }
    return ", ".join(f"{limit} {of}" for of, limit in told.items() if limit is not None) or "no limit of its own"


def _hints(peers: Peers, settings: Settings) -> Iterable[str]:
    """What is allowed, and may be meant otherwise."""
    for route in routes(settings):
        if route.destination.kind != DICOM or route.commitment is None:
            continue
        title = split_address(route.destination.address)[0]
        peer = peers.by_title.get(title)
        if peer is None or PeerTask.REPORT not in peer.may:
            yield (
                f"{title} of destination '{route.destination.name}' may report on storage commitment on our "
                'associations, on its own only with may = ["report"]'
            )
    for peer in _each(peers):
        if any(network.prefixlen == 0 for network in peer.addresses) and not peer.certificates:
            yield f"{peer.name} is believed from anywhere"
        if PeerTask.SIGNALS in peer.may and not settings.completion_signals:
            yield f"{peer.name} may send MPPS and IAN, but VIGIE_COMPLETION_SIGNALS is not set"
