"""Device errors: exceptions of torch as errors of the extractor, so that callers see only these."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from covpool.extractor.errors import DeviceError, ExtractionError, OutOfMemoryError


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
