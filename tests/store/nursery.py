"""Processes that start in milliseconds: one interpreter with everything loaded, forked for each task.

What a child does is Python source with the names `Store`, `example_key`, `example_moments`, `report` and
`arguments` (a list of JSON values); `report(text)` writes one line, whole or not at all, to the child's file.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SOURCE = """
import json, os, sys, traceback
from covpool.store import Store
from covpool.store.testing import example_key, example_moments

# Whatever is loaded on first use is loaded here.
with Store.open("memory://") as store:
    store.put(example_key("a"), example_moments("a"))
    store.get(example_key("a"))
    store.verify()
store = None
print("ready", flush=True)
for line in sys.stdin:
    task = json.loads(line)
    if task["do"] == "wait":
        print(os.waitpid(task["pid"], 0)[1], flush=True)
        continue
    pid = os.fork()
    if pid == 0:
        out = os.open(task["file"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        report = lambda text: os.write(out, (text + "\\n").encode())
        names = dict(Store=Store, example_key=example_key, example_moments=example_moments, report=report)
        try:
            exec(task["source"], names | {"arguments": task["arguments"]})
        except BaseException:
            report("FAILED " + traceback.format_exc().replace("\\n", " | "))
            os._exit(1)
        os._exit(0)
    print(pid, flush=True)
"""


class Nursery:
    """Forks children and waits for them."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self._process, self._folder, self._count = process, folder, 0

    def start(self, source: str, *arguments: Any) -> tuple[int, Path]:
        """A child running `source`; its process id and the file of its reports."""
        self._count += 1
        file = self._folder / f"child{self._count}"
        file.touch()
        file.chmod(0o666)
        return self._ask(do="start", file=str(file), source=source, arguments=arguments), file

    def wait(self, pid: int) -> int:
        """Wait for a child to end; its wait status (9 if it was killed by SIGKILL, 0 if it ended well)."""
        return self._ask(do="wait", pid=pid)

    def run(self, source: str, *arguments: Any) -> list[str]:
        """What a child reports that ends by itself, and well."""
        pid, file = self.start(source, *arguments)
        status = self.wait(pid)
        lines = file.read_text().splitlines()
        assert status == 0, lines
        return lines

    def _ask(self, **task: Any) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextmanager
def nursery(folder: Path) -> Iterator[Nursery]:
    """A nursery whose children's files lie in `folder`."""
    with subprocess.Popen(
        [sys.executable, "-c", _SOURCE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield Nursery(process, folder)
        assert process.stdin is not None
        process.stdin.close()
