"""What was lost: every acknowledged instance is looked for by its bytes, every study by its outcome and its result."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa

from load.senders import Sent
from services.backends import part10
from services.backends.store.engine import connect, reading
from services.backends.store.tables import instance

_DELIVERED = frozenset({"sent", "committed"})


def open_ends(sent: Sent, client: httpx.Client) -> list[str]:
    """What the API says is missing of a study; empty when it has come to its end, and to the right one."""
    answer = client.get(f"/api/studies/{sent.uid}")
    if not answer.is_success:
        return [f"HTTP status {answer.status_code}"]
    detail = answer.json()
    jobs = [job for version in detail["versions"] for job in version["jobs"]]
    expected = "nothing_found" if sent.order.kind.volume else "not_analysed"
    told = []
    if detail["summary"]["instance_count"] != sent.instances:
        told.append(f"{detail['summary']['instance_count']} of {sent.instances} instances")
    if len(jobs) != 1:
        told.append(f"{len(jobs)} jobs, not one")
    for job in jobs:
        told += _job(job, expected)
    return told


def _job(job: dict[str, Any], expected: str) -> Iterator[str]:
    result = job["result"]
    if result is None:
        yield f"job is {job['state']}"
        return
    if result["outcome"] != expected:
        yield f"outcome {result['outcome']}, not {expected}"
    if not result["objects"] or not result["deliveries"]:
        yield "nothing to deliver"
    yield from (f"delivery is {one['state']}" for one in result["deliveries"] if one["state"] not in _DELIVERED)


def database_bytes(url: str) -> tuple[int, int]:
    """Size of the database, and how many instances it knows."""
    engine = connect(url)
    with reading(engine) as connection:
        size = connection.scalar(sa.select(sa.func.pg_database_size(sa.func.current_database())))
        known = connection.scalar(sa.select(sa.func.count()).select_from(instance))
    engine.dispose()
    return int(size or 0), int(known or 0)


def lost(sent: Sequence[Sent], data: Path, client: httpx.Client, at_the_pacs: frozenset[str]) -> list[str]:
    """All that is not as it was promised; identifiers only. at_the_pacs: SOP Instance UIDs."""
    kept = {path.name[:64]: path for path in [*data.glob("instances/*/*.dcm"), *data.glob("inbox/*.dcm")]}
    told = []
    for one in sent:
        told += [f"study {one.uid} ({one.order.modality}): {what}" for what in open_ends(one, client)]
        told += [f"study {one.uid}: not all was taken: {', '.join(one.errors)}"] if one.acknowledged is None else []
        for digest in one.digests:
            if digest not in kept:
                told.append(f"instance {digest} is not kept")
            elif part10.digest(kept[digest].read_bytes()) != digest:
                told.append(f"instance {digest} is kept with other bytes")
        told += [f"object {uid} is not at the PACS" for uid in _objects(one, client) if uid not in at_the_pacs]
    return told


def _objects(sent: Sent, client: httpx.Client) -> Iterator[str]:
    answer = client.get(f"/api/studies/{sent.uid}")
    for version in answer.json()["versions"] if answer.is_success else ():
        for job in version["jobs"]:
            for item in job["result"]["objects"] if job["result"] else ():
                yield item["sop_instance_uid"]
