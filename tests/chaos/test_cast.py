"""A supervised member: started again when it ended by itself, not when the campaign has ended it."""

import subprocess

from chaos.cast import Supervised


class Sleeper:
    """A server that can be ended from outside."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(["sleep", "60"])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def has_ended(self) -> bool:
        return self.process.poll() is not None


def test_a_server_that_ended_by_itself_is_started_again_and_counted() -> None:
    server = Sleeper()
    member = Supervised("triton", server, ready=lambda: not server.has_ended(), has_ended=server.has_ended)
    assert (member.is_ready(), member.crashes) == (True, 0)
    server.kill()
    assert (member.is_ready(), member.crashes) == (True, 1)
    member.kill()
    member.start()
    assert (member.is_ready(), member.crashes) == (True, 1)
    server.kill()
