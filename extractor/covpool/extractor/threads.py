"""Threads of torch's linear algebra: one where matrices are small, as with `covpool.store.threads`.

A step of the autoencoder on 32 matrices of d = 64 took 9 to 70 ms on two threads of two busy cores and 1 to 2
on one (d = 512: 330 and 65, 8 of d = 1536: 510 and 165); on idle cores it took the same time on either. A
Cholesky solve of side 64 took 12 ms and 1, of side 528 75 and 11, of side 3000 460 and 590.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from covpool.store.threads import LARGE


@contextmanager
def one_torch_thread(side: int = 0) -> Iterator[None]:
    """One thread for torch's operations of the calling thread while the body runs.

    Args:
        side: of the one matrix that is worked on; from `LARGE` on nothing is changed.
    """
    before = torch.get_num_threads()
    if side < LARGE:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
