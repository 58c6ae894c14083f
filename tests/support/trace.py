"""System calls of a process and its children in the order in which they ended, by strace."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_CALL = re.compile(r"(?P<pid>\d+) +(?P<name>\w+)\((?P<arguments>.*?)(\) += (?P<answer>-?\d+).*| <unfinished \.\.\.>)")
_RESUMED = re.compile(r"(?P<pid>\d+) +<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)\) += (?P<answer>-?\d+).*")


@dataclass(frozen=True, kw_only=True)
class Call:
    """One system call; descriptors are shown with their paths. `began`, `ended`: lines of the trace."""

    name: str
    arguments: str
    answer: int
    began: int
    ended: int


def strace(trace: Path, calls: Sequence[str]) -> list[str]:
    """The words before a command that have its system calls written to a file."""
    program = shutil.which("strace")
    assert program, "strace is needed: apt-get install strace"
    return [program, "-f", "-y", "-x", "-s", "24", "-e", f"trace={','.join(calls)}", "-o", str(trace)]


def read_trace(trace: Path) -> list[Call]:
    """Finished calls, by when they began."""
    begun: dict[tuple[str, str], tuple[int, str]] = {}
    found = []
    for number, line in enumerate(trace.read_text().splitlines()):
        if (call := _CALL.fullmatch(line)) and call["answer"] is None:
            begun[call["pid"], call["name"]] = number, call["arguments"]
        elif call:
            began, arguments = number, call["arguments"]
            found.append(_call(call["name"], arguments, call["answer"], began, number))
        elif (resumed := _RESUMED.fullmatch(line)) and (resumed["pid"], resumed["name"]) in begun:
            began, arguments = begun.pop((resumed["pid"], resumed["name"]))
            found.append(_call(resumed["name"], arguments + resumed["rest"], resumed["answer"], began, number))
    return sorted(found, key=lambda call: call.began)


def _call(name: str, arguments: str, answer: str, began: int, ended: int) -> Call:
    return Call(name=name, arguments=arguments, answer=int(answer), began=began, ended=ended)
