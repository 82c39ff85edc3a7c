"""Resuming: an accumulation that was interrupted, saved and restored ends in the bits of one that was not."""

from pathlib import Path

import pytest
import torch

from covpool.extractor import SecondMoment
from covpool.store import Store
from covpool.store.testing import example_key

KEY = example_key("a long gene")


@pytest.mark.parametrize("sums", [torch.float64, torch.float32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("cut", [0, 1, 4095, 4096, 5000, 8192, 9999])
def test_a_resumed_accumulation_ends_in_the_same_bits(
    tmp_path: Path, cut: int, dtype: torch.dtype, sums: torch.dtype
) -> None:
    x = (torch.randn(10_000, 13, generator=torch.Generator().manual_seed(0)) + 0.5).to(dtype)
    undisturbed = SecondMoment(13, dtype=sums)
    undisturbed.add(x)
    interrupted = SecondMoment(13, dtype=sums)
    for start in range(0, cut, 777):
        interrupted.add(x[start : min(start + 777, cut)])
    with Store.open(tmp_path) as store:
        store.partials.put(KEY, interrupted.partial(cut))
    with Store.open(tmp_path) as store:
        partial = store.partials.get(KEY)
    assert partial is not None
    resumed = SecondMoment.resume(partial)
    # What was saved does not change when the accumulator it was taken of goes on.
    interrupted.add(x[cut:])
    for start in range(partial.position, len(x), 1234):
        resumed.add(x[start : start + 1234])
    for found in (resumed.moments(), interrupted.moments()):
        expected = undisturbed.moments()
        assert found.count == expected.count
        assert found.mean.tobytes() == expected.mean.tobytes()
        assert found.second_moment.tobytes() == expected.second_moment.tobytes()


def test_a_resumed_accumulation_refuses_rows_of_another_dtype() -> None:
    interrupted = SecondMoment(5)
    interrupted.add(torch.randn(10, 5))
    resumed = SecondMoment.resume(interrupted.partial(10))
    with pytest.raises(ValueError, match=r"float64.*float32"):
        resumed.add(torch.randn(10, 5, dtype=torch.float64))
