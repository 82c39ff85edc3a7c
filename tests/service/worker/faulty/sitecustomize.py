"""Faults for tests: put on the path, it makes certain sequences do harm to the process that extracts them.

Everything else is the real thing: the model runs, and the processes, signals and exceptions are real.
"""

import os
import signal
import sys
import time

#: Bases by the harm they do; distinct from all else that the tests extract.
HARMS = {
    "kill": "GATTACAGATTACA",
    "abort": "CATTAGACATTAGA",
    "memory": "TTAGGGTTAGGGTT",
    "always memory": "CCCTAACCCTAACC",
    "overflow": "GGGGATTTTGGGGA",
    "bug": "ACACACTTACACAC",
    "slow": "TGTGTGAATGTGTG",
}
SLOW_S = 3.0


def _harm(kind: str, budget: int, progress: object) -> None:
    import torch

    from covpool.extractor.errors import ActivationError

    match kind:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "abort":
            os.abort()
        case "memory" if budget > 8192:
            raise torch.OutOfMemoryError(f"a forward of {budget} bases does not fit")
        case "always memory":
            raise torch.OutOfMemoryError(f"a forward of {budget} bases does not fit")
        case "overflow":
            raise ActivationError("layer up.6 overflowed")
        case "bug":
            raise KeyError("nowhere")
        case "slow":
            end = time.monotonic() + SLOW_S
            while time.monotonic() < end:
                time.sleep(0.1)
                progress(0)  # type: ignore[operator]


def _install() -> None:
    from covpool.extractor.adapters.devices import own_errors
    from covpool.extractor.extraction import extract as extraction

    run = extraction.extract_workloads

    def harmed(adapter, workloads, progress=None, **more):  # type: ignore[no-untyped-def]
        with own_errors():
            for one in workloads:
                for kind, bases in HARMS.items():
                    if one.bases == bases:
                        _harm(kind, adapter.budget, progress)
        return run(adapter, workloads, progress, **more)

    extraction.extract_workloads = harmed


def _slow_fits() -> None:
    from covpool.service.fitting import training_set

    keys_of = training_set.keys_of

    def slowly(*request):  # type: ignore[no-untyped-def]
        time.sleep(SLOW_S)
        return keys_of(*request)

    training_set.keys_of = slowly


if "covpool.service.fitting.fit_program" in sys.orig_argv:
    _slow_fits()
if "covpool.service.extraction.engine_program" in sys.orig_argv:
    _install()
