"""Computing: decoding and arithmetic for requests, on as many threads as there are cores.

More would only take turns, hold a matrix each meanwhile, and keep the event loop from running.
"""

import os
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import anyio

_cores = anyio.CapacityLimiter(os.cpu_count() or 1)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def compute(call: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """`call(*arguments)` in a thread, as soon as a core is free for it."""
    return await anyio.to_thread.run_sync(call, *arguments, limiter=_cores)
