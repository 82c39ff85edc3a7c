"""Batching: how many bases one forward may hold.

How a float32 forward rounds depends on the size of its pieces, so that follows from the kind of machine, and
not from what else runs there: from the memory that a device has, not from what of it is free. Only after
memory ran out are smaller pieces tried (`memory_share`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import psutil
import torch

#: Share of a device's memory that one forward may take.
MEMORY_SHARE = 0.25
#: More bases per forward than this gained nothing on a CPU (measured: tiles of 8 to 64 kb are equally fast).
MOST_BASES = {"cpu": 16_384, "cuda": 262_144}


_share: ContextVar[float] = ContextVar("share of the usual memory", default=1.0)


@contextmanager
def memory_share(share: float) -> Iterator[None]:
    """Let forwards take only `share` of what they usually may, while the body runs."""
    token = _share.set(share)
    try:
        yield
    finally:
        _share.reset(token)


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device now, in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def total_bytes(device: torch.device) -> int:
    """Memory that a device has, in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return int(psutil.virtual_memory().total)


def usable_bytes(device: torch.device) -> int:
    """Memory that one forward may take on a device now, in bytes."""
    return int(_share.get() * MEMORY_SHARE * free_bytes(device))


def token_budget(device: torch.device, bytes_per_base: int, most: Mapping[str, int] = MOST_BASES) -> int:
    """Bases that one forward may hold on this kind of device, a power of two; at most `most`."""
    fitting = _share.get() * MEMORY_SHARE * total_bytes(device) / bytes_per_base
    allowed = min(fitting, _share.get() * most.get(device.type, most["cpu"]))
    # Machines of one kind differ by some megabytes.
    return 1 << max(0, int(allowed).bit_length() - 1)
