"""Messages: between a process and its child over one socket, until either end is gone."""

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
