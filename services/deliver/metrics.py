"""What one deliver has done since it started (`services.exposition`)."""

from prometheus_client import Counter, Histogram

from services.exposition import REGISTRY

TRIES = Counter(
    "vigie_delivery_attempts",
    "Tries to hand over a result or a notification: arrived, unavailable (is tried again), refused (a person must "
    "look), broke (a fault of ours: see unforeseen_error in the log).",
    ("destination", "outcome"),
    registry=REGISTRY,
)
DURATIONS = Histogram(
    "vigie_delivery_duration_seconds",
    "Time of one try to hand over. If it grows, look at the destination and the network to it.",
    ("destination",),
    buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300),
    registry=REGISTRY,
)
