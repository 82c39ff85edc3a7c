"""How many threads numpy's BLAS has while something runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info


def blas_threads() -> set[int]:
    """Of the BLAS that numpy brings; scipy may have loaded another one."""
    found = [one for one in threadpool_info() if one["user_api"] == "blas"]
    return {one["num_threads"] for one in found if "numpy" in one["filepath"] or len(found) == 1}


@contextmanager
def watched(*functions: str) -> Iterator[list[int]]:
    """Threads in effect at every call of these functions of `np.linalg`, which run as they are."""
    seen: list[int] = []

    def watching(real: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            seen.extend(blas_threads())
            return real(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in functions:
            patch.setattr(np.linalg, name, watching(getattr(np.linalg, name)))
        yield seen
