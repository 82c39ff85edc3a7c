"""Lines: messages between a worker and its child, one JSON object a line (no pickle).

To the child: run (a batch), drop (tasks). From it: device (what it runs on), progress (tokens by task),
done, dropped (a task), fault (kind and message), end (of the batch).
"""

import json
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

Message = dict[str, Any]


class Lines:
    """One end of a pair of pipes; any thread may send, one may receive."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._sending = threading.Lock()

    def send(self, **message: Any) -> None:
        """Send a message; `BrokenPipeError` when the other end is gone."""
        line = json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"
        with self._sending:
            self._outgoing.write(line)
            self._outgoing.flush()

    def receive(self) -> Iterator[Message]:
        """Messages until the other end is gone; one that was cut off by its death is left out."""
        for line in self._incoming:
            if line.endswith(b"\n"):
                yield json.loads(line)
