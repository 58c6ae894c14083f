"""The queues on the broker, all durable quorum queues on the default exchange, plain first in, first out.

    vigie.jobs          the bells; one that came back more than DELIVERY_LIMIT times goes to vigie.dead
    vigie.retry.<s>s    bells that wait out a delay, then go back to vigie.jobs
    vigie.dead          bells that nobody could act on, for a person: `vigie queue dead-letters`

Dead-lettering is at-least-once (the broker confirms to itself): it needs RabbitMQ 3.10 or newer. RabbitMQ 4.x is
untested; what it changes is answered here: its default delivery limit of 20 would drop dead letters that were looked
at too often, so `vigie.dead` has a limit of its own; its two priorities of quorum queues are not used, for the store
decides which job is next; counts that it no longer takes from a publisher (x-death) are not relied on.
"""

from dataclasses import dataclass
from typing import Any

DELIVERY_LIMIT = 20
DELAYS_S = (1, 5, 30, 300)
LONGEST_BACKOFF_S = 30
_AS_GOOD_AS_NONE = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Topology:
    """The queues whose names begin with `prefix`."""

    prefix: str

    @property
    def jobs(self) -> str:
        """Where workers listen."""
        return f"{self.prefix}.jobs"

    @property
    def dead(self) -> str:
        """Dead letters."""
        return f"{self.prefix}.dead"

    @property
    def delays(self) -> tuple[str, ...]:
        """One queue per delay, shortest first."""
        return tuple(f"{self.prefix}.retry.{delay}s" for delay in DELAYS_S)

    def delay(self, asked_s: float, *, retries: int) -> str:
        """The queue for a delay: rounded up to the next one there is, doubled with each retry up to LONGEST_BACKOFF_S.

        `retries`: how often this message was delayed before.
        """
        wanted_s = max(asked_s, min(asked_s * 2 ** min(retries, 30), LONGEST_BACKOFF_S))
        place = next((place for place, each in enumerate(DELAYS_S) if each >= wanted_s), len(DELAYS_S) - 1)
        return self.delays[place]

    def queues(self) -> dict[str, dict[str, Any]]:
        """Arguments of every queue, in the order of declaration: what is dead-lettered to comes first."""
        quorum = {"x-queue-type": "quorum", "x-overflow": "reject-publish"}
        jobs = quorum | _dead_lettered_to(self.dead) | {"x-delivery-limit": DELIVERY_LIMIT}
        waiting = quorum | _dead_lettered_to(self.jobs)
        return {
            self.dead: quorum | {"x-delivery-limit": _AS_GOOD_AS_NONE},
            self.jobs: jobs,
            **{name: waiting | {"x-message-ttl": s * 1000} for name, s in zip(self.delays, DELAYS_S, strict=True)},
        }


def _dead_lettered_to(queue: str) -> dict[str, Any]:
    return {
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": queue,
        "x-dead-letter-strategy": "at-least-once",
    }
