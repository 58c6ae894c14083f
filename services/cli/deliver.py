"""`vigie deliver`: delivery as a process of its own."""

from services.cli.flags import AeTitle, Data, SendTo, settings_from
from services.logs import configure_logging
from services.parts import deliver as run
from services.supervisor import run_part


def deliver(data: Data = None, ae_title: AeTitle = None, send_to: SendTo = None) -> None:
    """Send frozen results to their destinations, and answer for storage commitment. Several may run side by side.

    On SIGTERM the result in hand is sent to its end. `vigie settings` lists the VIGIE_... variables.
    """
    settings = settings_from(data=data, ae_title=ae_title, send_to=send_to)
    configure_logging(settings.log_level)
    run_part(run, settings)
