"""The bell between gateway and workers."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from services.triage.errors import Reason
from services.triage.job import JobMessage


class ReceivedMessage(Protocol):
    """One message in hand: it must be ended by exactly one of the three; if the process dies, it comes back."""

    message: JobMessage

    def ack(self) -> None:
        """The work is safe (its lease is committed): forget the message. Raises TransientError; then it comes back."""

    def retry(self, *, delay: timedelta) -> None:
        """Bring the message again after a delay, which an implementation may round up, and lengthen each time."""

    def dead_letter(self, reason: Reason) -> None:
        """Nobody can act on this message: keep it for a person. Raises TransientError; then it comes back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueDepth:
    """How many messages wait for a worker, wait out a delay, and lie dead. Those in a worker's hand are in none."""

    ready: int
    delayed: int
    dead: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """A message that nobody could act on. `message` is None when it cannot be read; `body` is what came."""

    body: str
    message: JobMessage | None
    reason: Reason


class JobQueue(Protocol):
    """The bell between gateway and workers, at least once. In which order jobs are worked on, the store decides."""

    def publish(self, message: JobMessage) -> None:
        """Returns once the queue has it safe (publisher confirm). Raises TransientError."""

    def receive(self, *, timeout: timedelta) -> ReceivedMessage | None:
        """The next message, or None when none came in time. Raises TransientError.

        For one receiver at a time, which ends one message before it asks for the next.
        """

    def depth(self) -> QueueDepth:
        """What waits in the queue now. Raises TransientError."""

    def dead_letters(self, *, limit: int = 1000) -> list[DeadLetter]:
        """Dead letters, oldest first; they stay. Raises TransientError."""

    def requeue(self, *, limit: int = 1000) -> int:
        """Put the oldest dead letters that can be read back to where workers find them; answers how many."""

    def close(self) -> None:
        """Messages in hand go back to the queue."""
