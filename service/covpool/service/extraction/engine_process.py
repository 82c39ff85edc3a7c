"""Engine process: extraction in a child process that may die; the next call then starts another.

Messages to the child are (number, kind, …), where the number identifies the request:

    load (model, dtype)          load the model
    run (model, workloads, share)  compute; see `EngineProcess.run`
    stop                         stop the run of this number

Messages from the child carry the same number, or 0 before it is ready:

    device (Device)              the device it runs on
    tokens (n)                   tokens done in this run so far
    row (key, moments)           one result of the next member
    member (index)               all rows of this member were sent
    fault (Fault)                the request failed
    end (seconds)                the request is done; seconds that the device was in use
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from covpool.extractor.extraction.workload import Workload
from covpool.extractor.models.models import Model
from covpool.service.extraction.patience import Row
from covpool.service.processes.child import Child, Messages
from covpool.service.processes.faults import DeathFault, Fault, StartFault, UnforeseenFault
from covpool.service.settings import Settings
from covpool.store.values.keys import MomentsKey
from covpool.store.values.moments import Moments


@dataclass(frozen=True, slots=True)
class Device:
    """The device of a child: torch's name, and memory in bytes."""

    name: str = ""
    memory_used: int | None = None
    memory_total: int | None = None


class EngineProcess:
    """The process that holds the models. It takes one request at a time, `stop` and `kill` from any thread.

    Args:
        settings: store, device, threads and memory of the child.

    Attributes:
        device: the device as the child last reported it.
        tokens: tokens done in the current run, over layers and strands.
        busy_s: seconds that the device was in use, over all runs.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._child: Child | None = None
        self._ready = False
        self._number = 0
        self.device = Device()
        self.tokens = 0
        self.busy_s = 0.0

    def start(self) -> Messages:
        """The messages of the process, which is started if none is alive."""
        if self._child is not None and not self._child.alive:
            self.close()
        if self._child is None:
            self._child = Child("covpool.service.extraction.engine_program", settings=self._settings)
            self._ready = False
        return self._child.messages

    def load(self, model: Model, dtype: str) -> None:
        """Load the model into memory, in the compute dtype of a recipe.

        Raises:
            Fault: it cannot be loaded.
        """
        for _ in self._request("load", model, dtype):
            pass

    def run(
        self, model: Model, workloads: Sequence[Workload], share: float = 1.0
    ) -> Generator[tuple[int, list[Row]]]:
        """Index and float32 rows of each workload that lacked results, as soon as they are computed.

        Rows leave out what is ready in the store. The run stops when the caller closes the generator.

        Args:
            model: the model that the recipes name.
            workloads: all of the same recipes, with their bases.
            share: share of the memory that forwards usually take.

        Raises:
            Fault: the rest was not computed.
        """
        return self._request("run", model, workloads, share)

    def stop(self) -> None:
        """Stop the current run as soon as the forward allows it; remaining members are not computed."""
        child = self._child
        if child is not None:
            child.messages.send(self._number, "stop")

    def kill(self) -> None:
        """End the process at once."""
        if self._child is not None:
            self._child.kill()

    def close(self) -> int:
        """Let the process end, and wait for it; returns its exit code."""
        child, self._child = self._child, None
        return 0 if child is None else child.close()

    def _request(self, *request: object) -> Generator[tuple[int, list[Row]]]:
        self._number += 1
        self.tokens = 0
        rows: list[Row] = []
        ended = False
        messages = self.start()
        # If the child is gone, the loop below ends and reports it.
        messages.send(self._number, *request)
        try:
            for number, *message in messages.receive():
                if number not in (0, self._number):
                    continue
                match message:
                    case "device", Device() as device:
                        self._ready, self.device = True, device
                    case "tokens", int(tokens):
                        self.tokens = tokens
                    case "row", MomentsKey() as key, Moments() as moments:
                        rows.append((key, moments))
                    case "member", int(index):
                        yield index, rows
                        rows = []
                    case "fault", Fault() as fault:
                        ended = True
                        if number == 0 or isinstance(fault, UnforeseenFault):
                            # The child ends by itself, or its device can no longer be trusted.
                            self.kill()
                            self.close()
                        raise fault
                    case "end", float(seconds):
                        ended = True
                        self.busy_s += seconds
                        return
            ended = True
            raise self._death()
        finally:
            if not ended:
                self.stop()

    def _death(self) -> Fault:
        death = DeathFault(self.close())
        return death if self._ready else StartFault(f"{death}, before it was ready; its log says why")
