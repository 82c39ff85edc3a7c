"""Child: a child process of the service that ends with its parent, and the messages between the two."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from covpool.service import logs
from covpool.service.settings import Settings

#: Seconds that a child may take to end once its socket is closed.
END_S = 10.0


class Messages:
    """One end of the socket; any thread may send, one may receive.

    A message is a tuple of values that can be pickled: both ends run the same code.

    Args:
        handle: file descriptor of the socket; `close` closes it.
    """

    def __init__(self, handle: int) -> None:
        self._connection = Connection(handle)
        self._sending = threading.Lock()

    @classmethod
    def of_parent(cls) -> Self:
        """The child's end: it takes over standard input, which is empty from then on."""
        handle = os.dup(0)
        # Processes that the child starts inherit standard input; they must not hold the socket open.
        with Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        return cls(handle)

    def send(self, *message: Any) -> None:
        """Send a message; it is lost if the other end is gone, which `receive` notices."""
        with self._sending, suppress(OSError):
            self._connection.send(message)

    def receive(self) -> Iterator[tuple[Any, ...]]:
        """Messages until the other end is gone; an incomplete last message is left out."""
        with suppress(EOFError, OSError):
            while True:
                yield self._connection.recv()

    def close(self) -> None:
        """Close this end; the other end notices."""
        self._connection.close()


class Child:
    """A running module of the service.

    Its standard input is a socket to this process. Messages go both ways over it. When the socket closes, the
    child knows that its parent is gone. The child's output goes to standard error. It leads its own process
    group, so an interrupt from the terminal reaches only the parent.

    Args:
        module: module to run with `python -m`.
        arguments: arguments of its command line.
        settings: settings that it reads from its environment.

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
        """Whether the child runs."""
        return self._process.poll() is None

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit code, negative for a signal; None if it has not ended after `timeout` seconds."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def terminate(self) -> None:
        """Ask the child to end (SIGTERM)."""
        self._process.terminate()

    def kill(self) -> None:
        """End the child at once, with all processes of its group."""
        # Until its exit code is read, no other process can have its id.
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> int:
        """Close the socket, wait for the end (the child is killed after `END_S`), return the exit code."""
        self.messages.close()
        if self.wait(END_S) is None:
            self.kill()
        return self._process.wait()


def _environment(settings: Settings) -> dict[str, str]:
    """This process's environment with the settings as variables."""
    values = settings.model_dump(mode="json", exclude_none=True)
    variables = {
        f"COVPOOL_{field.upper()}": value if isinstance(value, str) else json.dumps(value)
        for field, value in values.items()
    }
    # Idle compute threads sleep instead of spinning: several children share a machine.
    return {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, **variables}


def serve_parent() -> tuple[Messages, Settings]:
    """In a child: the messages of its parent, and the settings of its environment."""
    # An interrupt or a stop signal goes to all processes of a service; the parent acts on it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    messages = Messages.of_parent()
    settings = Settings.read()
    logs.configure(settings)
    return messages, settings
