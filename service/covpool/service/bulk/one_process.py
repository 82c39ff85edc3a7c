"""One process: bulk work in a child process beside this one, begun anew when it dies.

The child computes one piece of work after the other, in the order given, and puts the results of each into
the store while it computes the next.
"""

import multiprocessing
import os
import pickle
import signal
import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

from covpool.service.bulk.executors import AHEAD, ATTEMPTS
from covpool.service.bulk.work import Died, Outcome, Spec, Work
from covpool.service.errors import BulkError


class OneProcess:
    """Runs work in one child process.

    Args:
        spec: of the run.

    Raises:
        BulkError: the child ended while it loaded the model.
        ExtractionError, StoreError: model or store cannot be opened there.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._under_way: OrderedDict[str, Work] = OrderedDict()
        self._deaths: dict[str, int] = {}
        # What the child computes now, as far as it told.
        self._computing: str | None = None
        self._start()

    @property
    def workers(self) -> int:
        """See `Executor.workers`."""
        return 1

    @property
    def room(self) -> int:
        """See `Executor.room`."""
        return AHEAD

    def submit(self, work: Work) -> None:
        """See `Executor.submit`."""
        self._under_way[work.key] = work
        # Where it has died, that is noticed when results are looked for.
        with suppress(OSError):
            self._pipe.send(work)

    def settled(self, timeout: float) -> Iterator[tuple[Work, Outcome | Died]]:
        """See `Executor.settled`."""
        wait([self._pipe, self._process.sentinel], timeout)
        died = False
        failure: Exception | None = None
        try:
            while self._pipe.poll():
                match self._pipe.recv():
                    case ("computing", key):
                        self._computing = key
                    case ("computed", _):
                        self._computing = None
                    case ("done", key, outcome):
                        yield self._under_way.pop(key), outcome
                    case ("failed", Exception() as failure):
                        break
        except (EOFError, OSError, pickle.UnpicklingError):
            # Cut off in the middle of a message, or behind the last one.
            died = True
        if failure is not None:
            # Not above: what the child tells of may be of a kind that would pass for its death.
            raise failure
        if died or not self._process.is_alive():
            yield from self._begin_anew()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give up what is under way."""
        if kind is not None:
            # Whoever interrupts does not wait for a forward.
            self._process.kill()
        self._end()

    def _begin_anew(self) -> Iterator[tuple[Work, Died]]:
        """Start another child; the work that was running is tried again, until it has killed too many."""
        self._end()
        under_way, culprit = self._under_way, self._computing
        self._under_way, self._computing = OrderedDict(), None
        self._start()
        if culprit is None:
            culprit = next(iter(under_way), None)
        if culprit is not None:
            self._deaths[culprit] = self._deaths.get(culprit, 0) + 1
            if self._deaths[culprit] >= ATTEMPTS:
                yield under_way.pop(culprit), Died(f"killed its process {ATTEMPTS} times")
        for work in under_way.values():
            self.submit(work)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._spec), daemon=True)
        self._process.start()
        theirs.close()
        try:
            match self._pipe.recv():
                case ("failed", Exception() as error):
                    self._end()
                    raise error
        except EOFError as error:
            self._end()
            raise BulkError(
                "the process that runs the model ended while it loaded it; see the log above, and whether "
                "memory is short"
            ) from error

    def _end(self) -> None:
        # It ends when this pipe does.
        self._pipe.close()
        self._process.join()
        self._process.close()


def _serve(pipe: Connection, spec: Spec) -> None:
    """The child: work in, outcomes out, until the pipe ends."""
    _guard()
    telling = threading.Lock()

    def tell(*message: Any) -> None:
        # Whoever does not listen any more has ended, or is about to end this process.
        with telling, suppress(OSError):
            pipe.send(message)

    try:
        from covpool.service.bulk.engine import Computed, Engine

        engine = Engine(spec)
    except Exception as error:
        tell("failed", error)
        return
    tell("ready")

    def put(computed: Computed) -> None:
        try:
            tell("done", computed.work.key, engine.put(computed))
        except Exception as error:
            tell("failed", error)

    with ThreadPoolExecutor(1, thread_name_prefix="put") as pool:
        putting: Future[None] | None = None
        while (work := _received(pipe)) is not None:
            tell("computing", work.key)
            try:
                computed = engine.compute(work)
            except Exception as error:
                tell("failed", error)
                continue
            tell("computed", work.key)
            # No more than one waits to be put, so that memory stays bounded.
            if putting is not None:
                putting.result()
            putting = pool.submit(put, computed)
    engine.close()


def _received(pipe: Connection) -> Work | None:
    try:
        found = pipe.recv()
    except (EOFError, OSError):
        return None
    assert isinstance(found, Work)
    return found


def _guard() -> None:
    """End with the parent, however it ends; an interrupt is the parent's to act on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent,), name="end with parent", daemon=True).start()


def _end_with(parent: "multiprocessing.process.BaseProcess") -> None:
    parent.join()
    os._exit(1)
