"""A child for tests, `python -m tests.service.processes.echo`: it answers until its parent ends."""

import os
import subprocess
import sys

from covpool.service.processes.child import Messages
from covpool.service.settings import Settings


def main() -> None:
    """Answer messages."""
    messages = Messages.of_parent()
    sys.stdout.write("printed\n")
    sys.stdout.flush()
    # It inherits what standard input is by now, and stays in the group.
    sleeper = subprocess.Popen(["sleep", "600"])
    messages.send("ready", os.getpid(), sleeper.pid, Settings.read().store, sys.argv[1:])
    for number, (kind, *more) in enumerate(messages.receive()):
        if kind == "exit":
            os._exit(more[0])
        messages.send(number, kind, *more)
    sleeper.kill()


if __name__ == "__main__":
    main()
