"""Messages between a process and its child, over one socket, until either end is gone."""

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self


class Messages:
    """One end of the socket; any thread may send, one may receive.

    A message is a tuple of values that can be pickled: both ends run the same code.

    Args:
        handle: file descriptor of the socket, which is closed with this.
    """

    def __init__(self, handle: int) -> None:
        self._connection = Connection(handle)
        self._sending = threading.Lock()

    @classmethod
    def of_parent(cls) -> Self:
        """The child's end: what was its standard input, which is empty from then on."""
        handle = os.dup(0)
        # A process that the child starts inherits standard input; it must not hold the socket open.
        with Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        return cls(handle)

    def send(self, *message: Any) -> None:
        """Send a message; one to an end that is gone is lost, which whoever receives notices."""
        with self._sending, suppress(OSError):
            self._connection.send(message)

    def receive(self) -> Iterator[tuple[Any, ...]]:
        """Messages until the other end is gone; one that was cut off by its death is left out."""
        with suppress(EOFError, OSError):
            while True:
                yield self._connection.recv()

    def close(self) -> None:
        """Close this end, which tells the other one."""
        self._connection.close()
