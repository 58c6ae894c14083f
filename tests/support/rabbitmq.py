"""A real RabbitMQ from the Debian package: ports, folder and epmd of its own, beside any other on the machine."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.peers import free_port, wait_until

PROGRAMS = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
EPMD = shutil.which("epmd")
READY_S = 60.0


class RabbitMQ:
    """One broker: started, killed, paused, started again on the same folder."""

    def __init__(self, folder: Path, configuration: Mapping[str, object] | None = None, *, tls: bool = False) -> None:
        assert PROGRAMS, "RabbitMQ is needed: apt-get install rabbitmq-server"
        self.folder = folder
        self.port, self._distribution, self._epmd = free_port(), free_port(), free_port()
        self.log = folder / "broker.log"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        (folder / "plugins").write_text("[].\n")
        lines = {"loopback_users": "none", **(configuration or {})}
        self._tls = tls
        if tls:
            lines["listeners.ssl.default"] = f"127.0.0.1:{self.port}"
        (folder / "rabbitmq.conf").write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))

    @property
    def url(self) -> str:
        """Where it listens, with the credentials that it is born with."""
        return f"{'amqps' if self._tls else 'amqp'}://guest:guest@127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Returns once it speaks AMQP."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [PROGRAMS[-1]], stdout=output, stderr=output, env=self._environment, start_new_session=True
            )
        wait_until(self._speaks, timeout_s=READY_S, what=f"RabbitMQ, see {self.log}, answering")

    def kill(self) -> None:
        """Kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and says nothing."""
        self._running.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._running.send_signal(signal.SIGCONT)

    def control(self, *words: str) -> str:
        """What `rabbitmqctl` answers."""
        program = PROGRAMS[-1].with_name("rabbitmqctl")
        words = ("--node", self._environment["RABBITMQ_NODENAME"], *words)
        return subprocess.run(
            [program, *words], env=self._environment, check=True, capture_output=True, text=True
        ).stdout

    def clean_up(self) -> None:
        """End it, and the epmd it has started."""
        if self._process is not None and self._process.poll() is None:
            self.resume()
            self.stop()
        assert EPMD
        subprocess.run([EPMD, "-port", str(self._epmd), "-kill"], check=False, capture_output=True)

    def _end(self, number: int) -> None:
        process = self._running
        process.send_signal(number)
        process.wait(timeout=30)

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text(errors="replace")[-2000:]
        return self._process

    def _speaks(self) -> bool:
        _ = self._running
        if self._tls:
            return "started TLS" in self.log.read_text(errors="replace")
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as peer:
                peer.sendall(b"AMQP\x00\x00\x09\x01")
                return peer.recv(1) == b"\x01"
        except OSError:
            return False

    @property
    def _environment(self) -> dict[str, str]:
        here = str(self.folder)
        return {
            "PATH": os.environ["PATH"],
            "HOME": here,
            "LANG": "C.UTF-8",
            "RUNNING_UNDER_SYSTEMD": "true",  # the script then replaces itself by the VM: our pid is the broker's
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": f"{here}/rabbitmq.conf",
            "RABBITMQ_NODENAME": f"vigie{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(0 if self._tls else self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "ERL_EPMD_PORT": str(self._epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": f"{here}/mnesia",
            "RABBITMQ_LOG_BASE": f"{here}/log",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{here}/plugins",
            # two schedulers and no busy waiting: a test machine has other work
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
        }


@contextmanager
def rabbitmq(
    folder: Path, configuration: Mapping[str, object] | None = None, *, tls: bool = False
) -> Iterator[RabbitMQ]:
    """Run one until the end of the block."""
    broker = RabbitMQ(folder, configuration, tls=tls)
    try:
        broker.start()
        yield broker
    finally:
        broker.clean_up()
