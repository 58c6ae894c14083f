"""What must hold for studies to flow, checked from here; /readyz and the metrics tell the same."""

import shutil
import tempfile
from datetime import datetime
from pathlib import Path

from services.gateway.desk import Desk
from services.gateway.schemas import CheckOut
from services.triage.errors import SchemaBehind, SchemaRefused, StoreUnavailable
from services.triage.job import Backlog


def checks(desk: Desk) -> list[CheckOut]:
    """Every check. Only the desk cannot work without the database; the door answers whatever happens behind it."""
    data_folder = check_data_folder(desk.settings.data, free_mb_needed=desk.settings.min_free_mb)
    store = CheckOut(name="store", ok=True, essential=desk.role.is_desk)
    now = desk.clock()
    try:
        # one row of one table, one look-up in an index, and three in another: the cheapest questions
        desk.store.require_usable()
        desk.store.board.result_object("0")
        backlog = desk.store.backlog(now=now)
    except StoreUnavailable:
        cause = "the database does not answer: look at its server and its URL. What the door keeps waits on disk"
        return [CheckOut(name="store", ok=False, essential=desk.role.is_desk, cause=cause), data_folder]
    except (SchemaBehind, SchemaRefused) as error:
        return [store, CheckOut(name="schema", ok=False, essential=desk.role.is_desk, cause=str(error)), data_folder]
    schema = CheckOut(name="schema", ok=True, essential=desk.role.is_desk)
    return [store, schema, data_folder, check_queue(backlog, now), check_workers(backlog, now)]


def check_data_folder(folder: Path, *, free_mb_needed: int) -> CheckOut:
    """Whether the data folder takes writes and has room; the cause names no path, since the probe is public."""
    name = "data_folder"
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"vigie")
        free_mb = shutil.disk_usage(folder).free // 1_000_000
    except OSError as error:
        return CheckOut(name=name, ok=False, cause=f"cannot be written: {error.strerror}; mend folder or permissions")
    if free_mb < free_mb_needed:
        cause = f"{free_mb} MB free, {free_mb_needed} MB needed: senders are refused until some space is freed"
        return CheckOut(name=name, ok=False, cause=cause)
    return CheckOut(name=name, ok=True)


def check_queue(backlog: Backlog, now: datetime) -> CheckOut:
    """Whether the broker takes messages."""
    if not backlog.is_owed_too_long(now):
        return CheckOut(name="queue", ok=True)
    cause = "messages wait for the broker: look at its server and its URL. No job is lost, workers look for jobs"
    return CheckOut(name="queue", ok=False, cause=cause)


def check_workers(backlog: Backlog, now: datetime) -> CheckOut:
    """Whether somebody works while there is work."""
    if not backlog.is_untaken_too_long(now):
        return CheckOut(name="workers", ok=True)
    cause = "jobs wait and no worker holds one: start a worker, or see in its log what it waits for. No job is lost"
    return CheckOut(name="workers", ok=False, cause=cause)
