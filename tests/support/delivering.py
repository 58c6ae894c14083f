"""`run_deliver` as a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from services.triage.result import DeliveryState
from tests.support.house import House
from tests.support.warm import Program

RUN = "from services.settings import Settings; from services.deliver.main import run_deliver; run_deliver(Settings())"


@contextmanager
def delivering(
    house: House, retry_s: float = 0.3, retry_max_s: float = 1, lease_s: float = 60, fault: str = ""
) -> Iterator[subprocess.Popen[bytes] | Program]:
    """Deliver until the end of the block, then kill it if it still runs. fault: Python that runs in it first."""
    environment = os.environ | {
        "VIGIE_DATA": str(house.data),
        "VIGIE_SEND_TO": ",".join(house.send_to),
        **({"VIGIE_DESTINATIONS": str(house.destinations)} if house.destinations else {}),
        **({"VIGIE_NOTIFICATIONS": str(house.notifications)} if house.notifications else {}),
        **({"VIGIE_COMMITMENT": str(house.commitment)} if house.commitment else {}),
        "VIGIE_DELIVERY_RETRY_S": str(retry_s),
        "VIGIE_DELIVERY_RETRY_MAX_S": str(retry_max_s),
        "VIGIE_LEASE_S": str(lease_s),
    }
    cold = [sys.executable, "-c", f"{fault}\n{RUN}"]
    with subprocess.Popen(cold, env=environment) if fault else Program(RUN, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def states(house: House, study_instance_uid: str) -> dict[str, DeliveryState]:
    """Of the deliveries of a study's result, by destination."""
    return {delivery.destination: delivery.state for delivery in house.result(study_instance_uid).deliveries}
