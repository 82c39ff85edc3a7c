"""Faults: reasons why a batch failed, reported by a child and handled by its parent.

Fault
├── InputFault      the input is at fault: trying again would fail again
├── MemoryFault     the device or the host ran out of memory
├── DeathFault      the child died: killed, or ended by a fault of the device
├── UnforeseenFault anything else
└── OutsideFault    no task is at fault
    ├── OutageFault storage or database are away, full or read-only
    ├── StoreFault  the store refused otherwise
    └── StartFault  the child ended before it was ready
"""

import signal

from covpool.extractor.errors import DeviceError, ExtractionError, OutOfMemoryError
from covpool.service.errors import ServiceError
from covpool.store.errors import CapacityError, InvalidMomentsError, StoreError
from covpool.store.outages import is_outage


class Fault(ServiceError):
    """Root of the faults."""

    @property
    def memory_related(self) -> bool:
        """Whether less memory might have prevented it."""
        return False


class InputFault(Fault):
    """The input is at fault: trying again would fail again."""


class MemoryFault(Fault):
    """The device or the host ran out of memory."""

    @property
    def memory_related(self) -> bool:
        """Always."""
        return True


class OutsideFault(Fault):
    """No task is at fault."""


class OutageFault(OutsideFault):
    """Storage or database are away, full or read-only: no attempt is counted."""


class StoreFault(OutsideFault):
    """The store refused, though storage and database are there."""


class StartFault(OutsideFault):
    """The child ended before it was ready."""


class UnforeseenFault(Fault):
    """Anything else."""


class DeathFault(Fault):
    """The child died. `code` is its exit code, negative for a signal, as `subprocess` gives it."""

    def __init__(self, code: int) -> None:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        super().__init__(f"the process that ran it {how}")
        self.code = code

    @property
    def memory_related(self) -> bool:
        """After SIGKILL: that is how the kernel ends what takes too much memory."""
        return self.code == -signal.SIGKILL


def fault_of(error: Exception) -> Fault:
    """The fault that corresponds to an error of extracting or putting."""
    if isinstance(error, Fault):
        return error
    if isinstance(error, OutOfMemoryError):
        return MemoryFault(f"{type(error).__name__}: {error}")
    if isinstance(error, DeviceError):
        return UnforeseenFault(str(error))
    if isinstance(error, ExtractionError | CapacityError | InvalidMomentsError):
        return InputFault(str(error))
    if isinstance(error, StoreError):
        return (OutageFault if is_outage(error) else StoreFault)(str(error))
    text = f"{type(error).__name__}: {error}"
    return MemoryFault(text) if isinstance(error, MemoryError) else UnforeseenFault(text)
