"""`vigie worker`: analysis as a process of its own."""

from services.cli.flags import Data, SendTo, settings_from
from services.logs import configure_logging
from services.parts import worker as run
from services.supervisor import run_part


def worker(data: Data = None, send_to: SendTo = None) -> None:
    """Run one worker: it takes one job at a time. Any number may run side by side.

    On SIGTERM the job in hand is finished, or given back after a grace. `vigie settings` lists the VIGIE_... variables.
    """
    settings = settings_from(data=data, send_to=send_to)
    configure_logging(settings.log_level)
    run_part(run, settings)
