"""Threads of torch: a fixed number for every forward, and one for linear algebra where matrices are small.

How a forward and its sums round depends on how many threads share them, so their number is one, or what
`compute_threads` sets, and follows from nothing else.

Linear algebra, as with `covpool.store.threads`:

A step of the autoencoder on 32 matrices of d = 64 took 9 to 70 ms on two threads of two busy cores and 1 to 2
on one (d = 512: 330 and 65, 8 of d = 1536: 510 and 165); on idle cores it took the same time on either. A
Cholesky solve of side 64 took 12 ms and 1, of side 528 75 and 11, of side 3000 460 and 590.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

import torch

from covpool.store.threads import LARGE

_compute: ContextVar[int] = ContextVar("threads of a forward", default=1)


@contextmanager
def compute_threads(number: int) -> Iterator[None]:
    """Let forwards that are begun in the body take so many threads instead of one.

    Results of another number may differ in their last bits.
    """
    if number < 1:
        raise ValueError(f"threads must be at least 1, got {number}")
    token = _compute.set(number)
    try:
        yield
    finally:
        _compute.reset(token)


def forward_threads() -> AbstractContextManager[None]:
    """As many threads of torch as a forward takes, whatever the process has otherwise."""
    return _torch_threads(_compute.get())


def one_torch_thread(side: int = 0) -> AbstractContextManager[None]:
    """One thread for torch's operations of the calling thread while the body runs.

    Args:
        side: of the one matrix that is worked on; from `LARGE` on nothing is changed.
    """
    return _torch_threads(1) if side < LARGE else nullcontext()


@contextmanager
def _torch_threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
