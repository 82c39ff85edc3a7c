"""One process: bulk work in a child process beside this one, begun anew when it dies.

The child computes one piece of work after the other, in the order given; this process puts what it computed
into the store meanwhile. In one process they would take turns: small matrices cost Python, not waiting.
"""

import logging
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from covpool.service.bulk.executors import AHEAD, ATTEMPTS
from covpool.service.errors import BulkError
from covpool.service.extraction.putting import Computed, Row, put
from covpool.service.extraction.work import Died, Outcome, Spec, Work
from covpool.store.errors import StoreError
from covpool.store.outages import is_outage, probe
from covpool.store.values.keys import MomentsKey
from covpool.store.values.moments import Moments

log = logging.getLogger(__name__)


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
        # What it has told of that already.
        self._rows: dict[int, list[Row]] = {}
        # What was computed and is not in the store yet.
        self._unput: tuple[Work, Computed] | None = None
        self._paused = False
        self._store = spec.open_store()
        try:
            self._start()
        except BaseException:
            self._store.close()
            raise

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
        if self._unput is not None:
            yield from self._put(timeout)
            if self._unput is not None:
                return
        wait([self._pipe, self._process.sentinel], timeout)
        for told in self._told():
            match told:
                case ("computing", str(key)):
                    self._computing = key
                case ("row", int(index), (MomentsKey() as key, Moments() as moments)):
                    self._rows.setdefault(index, []).append((key, moments))
                case ("computed", str(key), Computed() as computed):
                    self._computing = None
                    computed.rows, self._rows = self._rows, {}
                    self._unput = self._under_way.pop(key), computed
                    yield from self._put(timeout)
                    if self._unput is not None:
                        return
                case ("failed", Exception() as error):
                    raise error
                case None:
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
        self._store.close()

    def _put(self, timeout: float) -> Iterator[tuple[Work, Outcome]]:
        """Put what was computed; while the storage is out it stays here, and the child waits."""
        assert self._unput is not None
        work, computed = self._unput
        try:
            probe(self._store)
            outcome = put(self._store, computed)
        except StoreError as error:
            if not is_outage(error):
                raise
            if not self._paused:
                log.warning("paused, goes on by itself: %s", error)
            self._paused = True
            time.sleep(timeout)
            return
        self._unput, self._paused = None, False
        yield work, outcome

    def _told(self) -> Iterator[object]:
        """What the child has told since; None when it has died."""
        while True:
            try:
                if not self._pipe.poll():
                    break
                told = self._pipe.recv()
            except (EOFError, OSError, pickle.UnpicklingError):
                # Cut off in the middle of a message, or behind the last one.
                yield None
                return
            yield told
        if not self._process.is_alive():
            yield None

    def _begin_anew(self) -> Iterator[tuple[Work, Died]]:
        """Start another child; the work that was running is tried again, until it has killed too many."""
        self._end()
        under_way, culprit = self._under_way, self._computing
        self._under_way, self._computing, self._rows = OrderedDict(), None, {}
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
    """The child: work in, what was computed out, until the pipe ends."""
    _guard()
    try:
        from covpool.service.extraction.engine import Engine

        engine = Engine(spec)
    except Exception as error:
        _tell(pipe, "failed", error)
        return
    _tell(pipe, "ready")
    # Work is taken in at once: a parent that waited to be rid of it would not take what is computed.
    waiting: SimpleQueue[Work | None] = SimpleQueue()
    threading.Thread(target=_receive, args=(pipe, waiting), name="receive work", daemon=True).start()
    while (work := waiting.get()) is not None:
        _tell(pipe, "computing", work.key)
        try:
            computed = engine.compute(work)
            # One matrix after the other, or all would be held in three more copies on the way. The pipe takes
            # them when those before have been put, so that memory stays bounded.
            for index, rows in computed.rows.items():
                while rows:
                    _tell(pipe, "row", index, rows.pop(0))
            computed.rows = {}
            _tell(pipe, "computed", work.key, computed)
        except Exception as error:
            _tell(pipe, "failed", error)
    engine.close()


def _tell(pipe: Connection, *message: object) -> None:
    # Whoever does not listen any more has ended, or is about to end this process.
    with suppress(OSError):
        pipe.send(message)


def _receive(pipe: Connection, waiting: "SimpleQueue[Work | None]") -> None:
    try:
        with suppress(EOFError, OSError):
            while True:
                waiting.put(pipe.recv())
    finally:
        # Whatever ended it: nobody waits for work that cannot come.
        waiting.put(None)


def _guard() -> None:
    """End with the parent, however it ends; an interrupt is the parent's to act on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent,), name="end with parent", daemon=True).start()


def _end_with(parent: "multiprocessing.process.BaseProcess") -> None:
    parent.join()
    os._exit(1)
