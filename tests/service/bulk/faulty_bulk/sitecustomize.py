"""Faults for tests of bulk runs: put on the path, it makes certain sequences harm the worker at work.

Everything else is the real thing. `COVPOOL_TEST_FAULTS` names a directory in which "once" is remembered.
"""

import os
import signal
import sys
import time
from pathlib import Path

#: First bases of a sequence by the harm it does.
HARMS = {
    "kill": "GATTACAGATTACAGATTACA",
    "kill once": "CATTAGACATTAGACATTAGA",
    "sleep once": "TTAGGGTTAGGGTTAGGGTTA",
    "overflow": "ACACACTTACACACTTACACA",
    "kill Dask worker": "GGTTGGTTTGGTTGGTTTGGT",
}


def _faults() -> Path:
    return Path(os.environ["COVPOOL_TEST_FAULTS"])


def _once(name: str) -> bool:
    flag = _faults() / name.replace(" ", "-")
    first = not flag.exists()
    flag.touch()
    return first


def _forgone(name: str) -> bool:
    return (_faults() / f"no-{name}").exists()


def _install() -> None:
    from covpool.extractor import ActivationError
    from covpool.extractor.extraction import extract as extraction

    run = extraction.extract_workloads

    def harmed(adapter, workloads, *rest, **options):  # type: ignore[no-untyped-def]
        for one in workloads:
            for kind, bases in HARMS.items():
                if not one.bases.startswith(bases):
                    continue
                killing = (kind == "kill" and not _forgone(kind)) or (kind == "kill once" and _once(kind))
                if killing:
                    os.kill(os.getpid(), signal.SIGKILL)
                if kind == "kill Dask worker" and (_faults() / "kill-Dask-worker").exists():
                    os.kill(os.getppid(), signal.SIGKILL)
                    time.sleep(120)
                if kind == "sleep once" and _once(kind):
                    time.sleep(120)
                if kind == "overflow":
                    raise ActivationError("layer up.6 overflowed")
        return run(adapter, workloads, *rest, **options)

    extraction.extract_workloads = harmed
    if (_faults() / "while-telling").exists():
        _kill_while_telling()


def _kill_while_telling() -> None:
    """Die once between two matrices of the same work."""
    from covpool.service.processes.child import Messages

    send, told = Messages.send, []

    def sending(self, number, kind, *more):  # type: ignore[no-untyped-def]
        send(self, number, kind, *more)
        told.append(kind)
        if told[-2:] == ["row", "row"] and _once("told"):
            os.kill(os.getpid(), signal.SIGKILL)

    Messages.send = sending  # type: ignore[method-assign]


if "COVPOOL_TEST_FAULTS" in os.environ and "covpool.service.extraction.engine_program" in sys.orig_argv:
    _install()
