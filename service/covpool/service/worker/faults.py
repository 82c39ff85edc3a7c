"""Faults: why a batch ended before its end, as the child says it and the worker acts on it.

Fault
├── InputFault      the input is at fault: trying again would fail again
├── MemoryFault     the device or the host ran out of memory
├── DeathFault      the child died: killed, or ended by a fault of the device
├── UnforeseenFault anything else
└── OutsideFault    no task is to blame
    ├── OutageFault storage or database are away, full or read-only
    ├── StoreFault  the store refused otherwise
    └── StartFault  the child ended before it was ready
"""

import signal
from typing import ClassVar

from covpool.service.errors import ServiceError


class Fault(ServiceError):
    """Root of the faults; `kind` is its name between child and worker."""

    kind: ClassVar[str]

    @property
    def hungry(self) -> bool:
        """Whether less memory might have prevented it."""
        return False


class InputFault(Fault):
    """The input is at fault: trying again would fail again."""

    kind = "input"


class MemoryFault(Fault):
    """The device or the host ran out of memory."""

    kind = "memory"

    @property
    def hungry(self) -> bool:
        """Always."""
        return True


class OutsideFault(Fault):
    """No task is to blame."""


class OutageFault(OutsideFault):
    """Storage or database are away, full or read-only: no attempt is counted."""

    kind = "outage"


class StoreFault(OutsideFault):
    """The store refused, though storage and database are there."""

    kind = "store"


class StartFault(OutsideFault):
    """The child ended before it was ready."""


class UnforeseenFault(Fault):
    """Anything else."""

    kind = "unforeseen"


class DeathFault(Fault):
    """The child died. `code` is its exit code, negative for a signal, as `subprocess` gives it."""

    kind = "death"

    def __init__(self, code: int) -> None:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        super().__init__(f"the process that ran it {how}")
        self.code = code

    @property
    def hungry(self) -> bool:
        """After SIGKILL: that is how the kernel ends what takes too much memory."""
        return self.code == -signal.SIGKILL


#: What a child may report of itself, by kind.
REPORTED: dict[str, type[Fault]] = {
    fault.kind: fault for fault in (InputFault, MemoryFault, OutageFault, StoreFault, UnforeseenFault)
}
