"""Child: the worker's hold on the process that runs the model; it may die, and another is started."""

import os
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass

from covpool.service.queue import Task
from covpool.service.worker.faults import REPORTED, DeathFault, Fault, StartFault, UnforeseenFault
from covpool.service.worker.lines import Lines

#: Seconds a child that was told to end may take.
END_S = 10.0


@dataclass(frozen=True, slots=True)
class Device:
    """What a child runs on: torch's name, and memory in bytes."""

    name: str = ""
    memory_used: int | None = None
    memory_total: int | None = None


class Child:
    """Starts the process when it is needed, and again after its death.

    Args:
        worker: the name under which tasks are leased; the child ends them in the store's transaction.

    Attributes:
        tokens: how far each task of the current batch is, in tokens, by id.
        device: what the process said last of its device.
    """

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: Lines | None = None
        self._ready = False
        self.tokens: dict[str, int] = {}
        self.device = Device()

    def start(self) -> Lines:
        """The channel to a live process."""
        if self._process is not None and self._lines is not None and self._process.poll() is None:
            return self._lines
        # Idle compute threads sleep instead of spinning: several workers share a machine.
        environment = {"OMP_WAIT_POLICY": "PASSIVE"} | os.environ
        self._process = subprocess.Popen(
            [sys.executable, "-m", "covpool.service.worker.extracting", self._worker],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._ready = False
        self._lines = Lines(self._process.stdout, self._process.stdin)  # type: ignore[arg-type]
        return self._lines

    def run(self, tasks: list[Task], share: float) -> Iterator[tuple[Task, bool]]:
        """Run tasks that share recipe and layers; yields each when it is done (True) or was dropped (False).

        Raises:
            Fault: the rest was not run.
        """
        left = {task.id: task for task in tasks}
        self.tokens = dict.fromkeys(left, 0)
        idle = False
        try:
            lines = self.start()
            lines.send(
                run=[
                    {
                        "task": task.id,
                        "bases": task.bases,
                        "cost": task.cost,
                        "regions": [[region.name, region.intervals] for region in task.regions],
                    }
                    for task in tasks
                ],
                recipe=tasks[0].key.recipe.to_json(),
                layers=tasks[0].layers,
                share=share,
            )
            for message in lines.receive():
                match message:
                    case {"progress": tokens}:
                        self.tokens |= tokens
                    case {"done": task}:
                        self.tokens.pop(task)
                        yield left.pop(task), True
                    case {"dropped": task}:
                        self.tokens.pop(task)
                        yield left.pop(task), False
                    case {"device": described}:
                        self._ready = True
                        self.device = Device(*described)
                    case {"fault": kind, "error": error}:
                        # After what was not foreseen its device is not trusted again.
                        idle = REPORTED[kind] is not UnforeseenFault
                        raise REPORTED[kind](error)
                    case {"end": True}:
                        idle = True
                        return
            raise self._death()
        except BrokenPipeError:
            raise self._death() from None
        finally:
            # Left in the middle: what it says of this batch must not be taken for the next one's.
            if not idle:
                self.close(at_once=True)

    def drop(self, tasks: Collection[str]) -> None:
        """Ask for tasks to be left, as soon as the forward allows it."""
        # Its death is noticed where its messages are read.
        with suppress(BrokenPipeError, ValueError):
            if tasks and self._lines is not None:
                self._lines.send(drop=sorted(tasks))

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None:
            self._process.kill()

    def close(self, *, at_once: bool = False) -> None:
        """Let the process end, or kill it, and wait for it."""
        if self._process is None:
            return
        if at_once:
            self._process.kill()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # It ends when this pipe does.
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._process = self._lines = None

    def _death(self) -> Fault:
        assert self._process is not None
        death = DeathFault(self._process.wait())
        return death if self._ready else StartFault(f"{death}, before it was ready; its log says why")
