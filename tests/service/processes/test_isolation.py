"""Isolation: innocent tasks complete whatever their batch mates do, and only the one at fault is left."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covpool.service.processes.faults import DeathFault, Fault, InputFault, MemoryFault, StoreFault
from covpool.service.processes.isolation import LEAST_SHARE, isolate


@given(st.integers(1, 40), st.sets(st.integers(0, 39)), st.integers(0, 5))
def test_only_the_poisonous_are_left(count: int, poison: set[int], early: int) -> None:
    def run(batch: list[int], share: float) -> Iterator[int]:
        # Some are done before the poison acts, as they are in a batch of several forwards.
        for item in batch[:early]:
            if item not in poison:
                yield item
        if poison.intersection(batch):
            raise DeathFault(-11)
        yield from batch[early:]

    outcome = dict(isolate(range(count), run))
    assert sorted(outcome) == list(range(count))
    assert {item for item, fault in outcome.items() if fault is not None} == poison & set(range(count))


def test_a_clean_batch_is_run_once_and_whole() -> None:
    runs: list[list[int]] = []

    def run(batch: list[int], share: float) -> list[int]:
        runs.append(batch)
        return batch[::-1]

    assert [item for item, _ in isolate(range(4), run)] == [3, 2, 1, 0]
    assert runs == [[0, 1, 2, 3]]


def test_only_an_item_that_is_alone_has_its_share_of_memory_lowered() -> None:
    asked: list[tuple[str, float]] = []

    def run(batch: list[str], share: float) -> list[str]:
        asked.append(("".join(batch), share))
        if "x" in batch and share > 0.5:
            raise MemoryFault("out of memory")
        return batch

    assert all(fault is None for _, fault in isolate("abxd", run))
    # Less memory means other bits.
    assert asked == [("abxd", 1.0), ("ab", 1.0), ("xd", 1.0), ("x", 1.0), ("x", 0.5), ("d", 1.0)]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (MemoryFault("out of memory"), [1.0, 0.5, LEAST_SHARE]),
        (DeathFault(-9), [1.0, 1.0, 0.5, LEAST_SHARE]),
        (DeathFault(-11), [1.0, 1.0]),
    ],
    ids=str,
)
def test_a_task_alone_that_lacks_memory_is_tried_with_less_and_then_fails(
    fault: Fault, expected: list[float]
) -> None:
    shares: list[float] = []

    def run(batch: list[str], share: float) -> list[str]:
        shares.append(share)
        raise fault

    assert list(isolate(["a"], run)) == [("a", fault)]
    assert shares == expected


def test_a_process_that_was_killed_once_costs_no_memory() -> None:
    shares: list[float] = []

    def run(batch: list[str], share: float) -> list[str]:
        shares.append(share)
        if len(shares) == 1:
            raise DeathFault(-9)
        return batch

    assert list(isolate(["a"], run)) == [("a", None)]
    assert shares == [1.0, 1.0]


def test_a_fault_of_the_input_is_not_tried_again() -> None:
    runs = 0

    def run(batch: list[str], share: float) -> list[str]:
        nonlocal runs
        runs += 1
        raise InputFault("overflow")

    ((item, fault),) = isolate(["a"], run)
    assert (item, str(fault), runs) == ("a", "overflow", 1)


def test_a_fault_of_the_store_is_nobodys() -> None:
    def run(batch: list[str], share: float) -> Iterator[str]:
        yield "a"
        raise StoreFault("disk full")

    outcome = isolate(["a", "b"], run)
    assert next(outcome) == ("a", None)
    with pytest.raises(StoreFault):
        next(outcome)
