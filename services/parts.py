"""The parts that Vigie's processes are made of. Each runs until SIGTERM or SIGINT, and loads only what it needs."""

from collections.abc import Sequence

from services.backends.queue import open_queue
from services.backends.store import open_store
from services.gateway.role import Role
from services.patience import wait_for
from services.settings import Settings
from services.supervisor import Part


def door(settings: Settings) -> None:
    """The DICOM listener."""
    from services.gateway.door import run_door

    run_door(settings)


def adt(settings: Settings) -> None:
    """The HL7 listener: whose studies are whose by now."""
    from services.gateway.adt.listener import run_adt

    run_adt(settings)


def stow(settings: Settings) -> None:
    """The door's HTTP side: STOW-RS, probes and metrics."""
    from services.gateway.app import run_http

    run_http(settings, Role.DOOR)


def worklist(settings: Settings) -> None:
    """The desk alone: the HTTP API and the work list."""
    from services.gateway.app import run_http

    run_http(settings, Role.DESK)


def desk(settings: Settings) -> None:
    """The desk with the door's HTTP side, on one address."""
    from services.gateway.app import run_http

    run_http(settings, Role.ALL)


def observing(settings: Settings) -> None:
    """Looks for alarms of the observatory."""
    from services.gateway.observatory.observing import run_observing

    run_observing(settings)


def dispatcher(settings: Settings) -> None:
    """Completes studies, routes them and publishes their jobs."""
    from services.gateway.dispatcher import run_dispatcher

    run_dispatcher(settings)


def asking(settings: Settings) -> None:
    """Asks PACS whether studies are complete, and for studies that never came."""
    from services.gateway.asking import run_asking

    run_asking(settings)


def retention(settings: Settings) -> None:
    """Deletes what nobody needs here any more."""
    from services.gateway.retention import run_retention

    run_retention(settings)


def worker(settings: Settings) -> None:
    """Analyses; where the model runs, the settings say."""
    from services.backends.inference import open_segmenter
    from services.worker.main import run_worker

    wait_for("database", lambda: open_store(settings.store_url()).close())
    wait_for("queue", lambda: open_queue(settings).close())
    run_worker(settings, open_segmenter(settings))


def deliver(settings: Settings) -> None:
    """Sends frozen results; writes and sends what readers answered to them."""
    from services.deliver.main import run_deliver

    run_deliver(settings)


STANDALONE: tuple[Part, ...] = (door, adt, desk, asking, observing, dispatcher, retention, worker, deliver)
"""In the order in which they are stopped: first who takes in, last who gives out."""

GATEWAY: dict[Role, tuple[Part, ...]] = {
    # the dispatcher goes with the door: it settles the files that the door has kept, and must see the same folder
    # so do asking, for what it fetches by C-GET it keeps there, and retention
    Role.DOOR: (door, adt, stow, asking, dispatcher, retention),
    Role.DESK: (worklist, observing),
    Role.ALL: (door, adt, desk, asking, observing, dispatcher, retention),
}


def in_service(parts: Sequence[Part], settings: Settings) -> tuple[Part, ...]:
    """Those of the parts that the settings ask for."""
    asked_for: dict[Part, bool] = {
        adt: settings.hl7 is not None,
        asking: settings.pacs is not None,
        retention: settings.retention().is_on,
    }
    return tuple(part for part in parts if asked_for.get(part, True))


def addresses(parts: Sequence[Part], settings: Settings) -> tuple[str, ...]:
    """HOST:PORT of each of the parts that listens."""
    http = (settings.http,)
    hl7 = (settings.hl7,) if settings.hl7 is not None else ()
    of_part: dict[Part, tuple[str, ...]] = {
        door: settings.dicom_addresses(),
        adt: hl7,
        stow: http,
        worklist: http,
        desk: http,
    }
    return tuple(address for part in parts for address in of_part.get(part, ()))
