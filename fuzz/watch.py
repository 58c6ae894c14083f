"""What must hold of the service as a whole after every batch: its processes, memory, files, surroundings and log."""

import re
from dataclasses import dataclass, field

from fuzz.service import Service, children, event_of, memory_mb, open_files
from fuzz.tally import Tally
from fuzz.values import CANARY
from tests.support.peers import wait_until

GROWTH_MB = {"door": 40.0, "desk": 400.0, "observing": 100.0, "adt": 40.0, "dispatcher": 250.0}
"""Each part may grow by so much over a campaign; what grows with the number of cases soon grows by more."""
GROWTH_FILES = 40
SETTLED_WITHIN_S = 120.0
_OURS = re.compile(
    r"(inbox|instances/[0-9a-f]{2}|results/[0-9a-f]{2}|quarantine)/[\w.~=-]+|tenants/\S*"
    r"|audit/\S*|vigie\.sqlite(-\w+)?"
)
_BROKEN = frozenset(
    {
        "unforeseen_error",
        "library_error",
        "uncaught_error",
        "association_broke",
        "adt_connection_broke",
        "part_died",
        "part_broke",
        "part_failed",
        "record_postponed",
        "completion_postponed",
        "routing_broke",
        "step_postponed",
        "kept_file_refused",
        "kept_file_unreadable",
    }
)
_FOREIGN = re.compile(r"Traceback|^\w*(Error|Exception)\b")


@dataclass
class Watch:
    """Looks at a service again and again, and compares it with how it was at first."""

    service: Service
    _memory: dict[str, float] = field(default_factory=dict)
    _files: dict[str, int] = field(default_factory=dict)
    _parts: dict[str, int] = field(default_factory=dict)
    _read: int = 0

    def begin(self) -> None:
        """Remember how it is now: call it after some traffic, when everything that is loaded late is loaded."""
        self._parts = self.service.parts()
        self._memory = {name: memory_mb(pid) for name, pid in self._parts.items()}
        self._files = {name: open_files(pid) for name, pid in self._parts.items()}

    def judge(self, tally: Tally) -> None:
        """Note whatever does not hold."""
        self._judge_processes(tally)
        self._judge_surroundings(tally)
        self._judge_log(tally)

    def grown_mb(self) -> dict[str, float]:
        """Since `begin`, by part."""
        return {name: memory_mb(pid) - self._memory.get(name, 0.0) for name, pid in self._parts.items()}

    def _judge_processes(self, tally: Tally) -> None:
        if self.service.process.poll() is not None or self.service.parts() != self._parts:
            tally.found("a part of the service has died")
            self.begin()
        try:
            wait_until(self._no_association, timeout_s=60, what="the end of all associations")
        except TimeoutError as error:
            tally.found(str(error))
        for name, grown in self.grown_mb().items():
            if grown > GROWTH_MB[name]:
                tally.found(f"{name} has grown by {grown:.0f} MB")
        for name, pid in self._parts.items():
            if open_files(pid) > self._files[name] + GROWTH_FILES:
                tally.found(f"{name} has {open_files(pid)} open files, at first {self._files[name]}")

    def _no_association(self) -> bool:
        return not children(self._parts["door"])

    def _judge_surroundings(self, tally: Tally) -> None:
        service = self.service
        for path in service.around.rglob("*"):
            # the door counts places and quotas in a folder of its own
            is_doors = path.parent.name.startswith("vigie-door-")
            if path.is_dir() or path == service.log or is_doors:
                continue
            if not path.is_relative_to(service.data):
                tally.found(f"a file outside of the data folder: {path.relative_to(service.around)}")
            elif not _OURS.fullmatch(str(path.relative_to(service.data))):
                tally.found(f"a file of no known kind: {path.relative_to(service.data)}")

    def _judge_log(self, tally: Tally) -> None:
        with self.service.log.open("rb") as log:
            log.seek(self._read)
            text = log.read()
        whole = text.rfind(b"\n") + 1
        self._read += whole
        for line in text[:whole].decode("utf-8", "replace").splitlines():
            event = event_of(line)
            if event.get("event") in _BROKEN or event.get("level") == "error" or (not event and _FOREIGN.search(line)):
                tally.found(f"logged: {line[:600]}")
            if CANARY in line:
                tally.found("a value that was sent stands in the log")
