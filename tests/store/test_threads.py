"""Threads: small linear algebra runs on one BLAS thread each, whoever asks, and nothing is left changed."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from covpool.store import Moments
from covpool.store.codecs.factor import factorise
from covpool.store.interpretation.features import spectrum
from covpool.store.interpretation.similarity import nearest_neighbours
from covpool.store.poolings.kinds import pooling
from covpool.store.poolings.matrices import two_sided
from covpool.store.poolings.scores import LinearScores
from covpool.store.testing import example_key
from covpool.store.threads import LARGE, one_thread, side_by_side
from covpool.store.values.packing import pack
from tests.blas import blas_threads, watched

MANY = 2


@pytest.fixture(autouse=True)
def several() -> Iterator[None]:
    """BLAS has several threads, also on a machine of one core."""
    with threadpool_limits(MANY, user_api="blas"):
        yield
        assert blas_threads() == {MANY}, "what was changed is put back"


def moments(width: int = 64, seed: int = 0) -> Moments:
    values = np.random.default_rng(seed).normal(size=(200, width)).astype(np.float32)
    return Moments(200, values.mean(0), values.T @ values / np.float32(200))


def scores() -> LinearScores:
    size = pooling("root").size(64)
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(size, 3))
    return LinearScores("root", np.ones(64), np.zeros(size), np.ones(size), loadings, name="s")


DECOMPOSING: dict[str, Callable[[], object]] = {
    "root": lambda: pooling("root").embed(moments()),
    "log": lambda: pooling("log").embed(moments()),
    "joined": lambda: pooling("mean+root").embed(moments()),
    "scores": lambda: scores().embed(moments()),
    "many scores": lambda: scores().embed_many([moments(seed=seed) for seed in range(5)]),
    "spectrum": lambda: spectrum(moments()),
    "codec": lambda: factorise(pack(moments(96).second_moment), 96, 0.1, 90),
    "neighbours": lambda: nearest_neighbours(
        pooling("root"), [moments()], [(example_key(f"{n}"), moments(seed=n)) for n in range(5)]
    ),
}


@pytest.mark.parametrize("name", DECOMPOSING)
def test_a_small_decomposition_has_one_thread(name: str) -> None:
    with watched("eigh", "eigvalsh") as seen:
        DECOMPOSING[name]()
    assert seen and set(seen) == {1}


def test_a_product_has_one_thread_too() -> None:
    seen: list[int] = []

    class Watched(np.ndarray):
        def __matmul__(self, other: Any) -> Any:
            seen.extend(blas_threads())
            return np.asarray(self) @ other

        def __rmatmul__(self, other: Any) -> Any:
            seen.extend(blas_threads())
            return other @ np.asarray(self)

    one = moments()
    left = np.ones((64, 4)).view(Watched)
    two_sided(left, one.second_moment, left)
    assert seen and set(seen) == {1}


def test_a_large_matrix_alone_keeps_all_threads_and_side_by_side_has_one() -> None:
    with one_thread(LARGE):
        assert blas_threads() == {MANY}
    with one_thread(LARGE - 1):
        assert blas_threads() == {1}
    found = side_by_side(lambda _: blas_threads(), range(3), side=LARGE)
    assert list(found) == [{1}] * 3


def test_the_last_to_leave_puts_back_what_the_first_found() -> None:
    first, second = one_thread(), one_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert blas_threads() == {1}, "one is still inside"
    second.__exit__(None, None, None)
    assert blas_threads() == {MANY}
    with pytest.raises(ZeroDivisionError), one_thread():
        1 / 0  # noqa: B018
    assert blas_threads() == {MANY}


def test_threads_that_come_and_go_leave_no_trace() -> None:
    def work() -> None:
        for _ in range(200):
            with one_thread():
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert blas_threads() == {MANY}


def test_side_by_side_keeps_the_order_reads_little_ahead_and_tells_the_first_fault() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            read.append(number)
            yield number

    found = side_by_side(lambda number: number**2, items(), side=64)
    assert [next(found) for _ in range(3)] == [0, 1, 4]
    assert len(read) < 200, "bounded by the cores, not by what there is"
    found.close()
    assert blas_threads() == {MANY}

    def fails(number: int) -> int:
        return 1 // (number - 2)

    failing = side_by_side(fails, range(5), side=64)
    assert [next(failing), next(failing)] == [-1, -1]
    with pytest.raises(ZeroDivisionError):
        next(failing)


def test_bits_do_not_depend_on_the_threads_that_blas_has() -> None:
    kinds, one = ("root", "log", "newton_schulz"), moments(256)
    with threadpool_limits(1, user_api="blas"):
        alone = [pooling(kind).embed(one) for kind in kinds]
    for kind, expected in zip(kinds, alone, strict=True):
        assert np.array_equal(pooling(kind).embed(one), expected)
