"""Child: a process of ours, bound to the one that started it; the one way in which the service starts any."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress

from covpool.service.processes.messages import Messages
from covpool.service.settings import Settings

#: Seconds that a child may take to end once its socket is closed.
END_S = 10.0


class Child:
    """A running module of ours.

    Its standard input is a socket to this process. Messages go both ways over it, and its end tells the child
    that its parent is gone, however that happened. What the child prints goes to standard error. It leads a
    process group of its own: an interrupt typed at the terminal reaches the parent alone, which decides.

    Args:
        module: run as `python -m`.
        arguments: of its command line.
        settings: which it reads from its environment.

    Attributes:
        messages: this end of the socket.
    """

    def __init__(self, module: str, *arguments: str, settings: Settings) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=theirs.fileno(),
                stdout=2,
                env=_environment(settings),
                start_new_session=True,
            )
            self.messages = Messages(ours.detach())

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def wait(self, timeout: float | None = None) -> int | None:
        """Its exit code, negative for a signal; None when it has not ended after `timeout` seconds."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once, with all processes of its group."""
        # Until its exit code was read its number belongs to no other process.
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> int:
        """Close the socket and wait for its end, which is enforced after `END_S`; returns the exit code."""
        self.messages.close()
        if self.wait(END_S) is None:
            self.kill()
        return self._process.wait()


def _environment(settings: Settings) -> dict[str, str]:
    """This process's environment with the settings as variables."""
    given = settings.model_dump(mode="json", exclude_none=True)
    variables = {
        f"COVPOOL_{field.upper()}": value if isinstance(value, str) else json.dumps(value)
        for field, value in given.items()
    }
    # Idle compute threads sleep instead of spinning: several children share a machine.
    return {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, **variables}
