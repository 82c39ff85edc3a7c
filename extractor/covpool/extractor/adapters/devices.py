"""Devices: what of their memory one forward may take, and their failures as errors of the extractor.

How a float32 forward rounds depends on the size of its pieces, so that follows from the kind of machine, and
not from what else runs there: from the memory that a device has, not from what of it is free. Only after
memory ran out are smaller pieces tried (`memory_share`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import psutil
import torch

from covpool.extractor.errors import DeviceError, ExtractionError, OutOfMemoryError

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


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory ran out; torch has no class for this on the CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    messages = ("DefaultCPUAllocator", "can't allocate memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(words in str(error) for words in messages)


@contextmanager
def own_errors() -> Iterator[None]:
    """Raise exceptions of torch in the body as errors of the extractor; others pass.

    Raises:
        OutOfMemoryError: memory ran out.
        DeviceError: an error of a class of torch's own: the device failed.
    """
    try:
        yield
    except ExtractionError:
        raise
    except Exception as error:
        first = str(error).partition("\n")[0]
        if is_out_of_memory(error):
            raise OutOfMemoryError(
                f"{first}; memory ran out: use shorter sequences, fewer layers, or a larger device"
            ) from error
        if type(error).__module__.partition(".")[0] == "torch":
            raise DeviceError(
                f"{type(error).__name__}: {first}; try again in a new process, or on another device"
            ) from error
        raise
