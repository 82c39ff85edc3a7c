"""Threads: decoding and arithmetic for requests, on as many threads as there are cores.

More threads would only take turns, hold one matrix each, and delay the event loop.
"""

import os
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import anyio

_cores = anyio.CapacityLimiter(os.cpu_count() or 1)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def compute(call: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """`call(*arguments)` in a thread, as soon as a core is free."""
    return await anyio.to_thread.run_sync(call, *arguments, limiter=_cores)
