"""Events of the audit trail as files, for whoever has no database now: the dispatcher settles them into the trail.

audit/spool/<key>.json          an event, whole; its key is that of the event, so that it is settled once
audit/spool/<random>.unfinished being written
audit/damaged/<key>.json        not an event: for a person
audit/dropped                   a byte for each event that the bound let no room for
audit/dropped-<key>             the same, while it is settled as an event of this key
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

from pydantic import RootModel

from services.backends.files import durable
from services.triage.audit import AuditActor, AuditEvent, AuditObject, AuditObjectKind, AuditOutcome
from services.triage.audit_types import AuditType, audited
from services.triage.errors import OutOfResources

MOST = 20_000
"""Events that wait: more are counted, and dropped. A door without its database writes about ten for each study."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spooled:
    """An event that waits, and its file."""

    path: Path
    event: AuditEvent


class AuditSpool:
    """In the data folder; safe for several processes. most: events that may wait."""

    def __init__(self, data: Path, *, most: int = MOST) -> None:
        self._folder = data / "audit" / "spool"
        self._damaged = data / "audit" / "damaged"
        self._dropped = data / "audit" / "dropped"
        self._most = most

    def add(self, event: AuditEvent, *, now: datetime) -> None:
        """Keep an event: it is on disk (fsync) when this returns. One whose key is there already is kept once.

        Raises OutOfResources (it is not kept; where the bound says so it is counted).
        """
        key = event.key or uuid4().hex
        kept = replace(event, key=key, happened_at=event.happened_at or now)
        with durable.as_out_of_resources():
            self._folder.mkdir(parents=True, exist_ok=True)
            if self.count() >= self._most:
                self._count_dropped()
                raise OutOfResources(f"{self._most} events of the audit trail wait already")
        document = RootModel[AuditEvent](kept).model_dump_json().encode("utf-8", "replace")
        durable.write(document, self._folder / f"{key}.json", via=self._folder)

    def pending(self, *, limit: int) -> Iterator[Spooled]:
        """Events that wait, oldest first, and first that some were dropped; a file that is none is set aside."""
        yield from self._told_of_dropped()
        for path in self._waiting()[:limit]:
            try:
                event = RootModel[AuditEvent].model_validate_json(path.read_bytes()).root
            except FileNotFoundError:  # another process was first
                continue
            except ValueError:
                self._damaged.mkdir(exist_ok=True)
                with suppress(FileNotFoundError):
                    path.rename(self._damaged / path.name)
                continue
            yield Spooled(path=path, event=event)

    def settled(self, events: list[Spooled]) -> None:
        """These are in the trail. A kill before brings them again, and the trail has their keys."""
        for each in events:
            each.path.unlink(missing_ok=True)
        for folder in {each.path.parent for each in events}:
            durable.sync_folder(folder)

    def count(self) -> int:
        """How many wait."""
        try:
            with os.scandir(self._folder) as entries:
                return sum(entry.name.endswith(".json") for entry in entries)
        except FileNotFoundError:
            return 0

    def damaged(self) -> int:
        """How many files were set aside."""
        return len(list(self._damaged.glob("*.json")))

    def set_dropped_apart(self) -> None:
        """Give what was counted until now a key, by which it is told once; counting begins anew."""
        with suppress(FileNotFoundError):
            # a rename of what is not there is refused where nothing may be written
            if self._dropped.exists():
                self._dropped.rename(self._dropped.with_name(f"dropped-{uuid4().hex}"))

    def sweep(self) -> None:
        """Remove what a killed process left unfinished."""
        if self._folder.is_dir():
            durable.sweep(self._folder, timedelta(hours=1))

    def _told_of_dropped(self) -> Iterator[Spooled]:
        self.set_dropped_apart()
        for path in sorted(self._dropped.parent.glob("dropped-*")):
            count = str(path.stat().st_size)
            event = audited(
                AuditType.EVENTS_DROPPED,
                AuditActor(name="spool"),
                objects=(AuditObject(kind=AuditObjectKind.RECORD, object_id="spool", details={"events": count}),),
                outcome=AuditOutcome.SERIOUS_FAILURE,
                key=path.name.removeprefix("dropped-"),
            )
            yield Spooled(path=path, event=event)

    def _waiting(self) -> list[Path]:
        found: list[tuple[int, str]] = []
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if entry.name.endswith(".json"):
                        with suppress(FileNotFoundError):
                            found.append((entry.stat().st_mtime_ns, entry.name))
        except FileNotFoundError:
            return []
        return [self._folder / name for _, name in sorted(found)]

    def _count_dropped(self) -> None:
        with self._dropped.open("ab") as file:
            file.write(b".")
