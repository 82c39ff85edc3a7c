"""Threads of fits and probes: small matrices on one thread each, parts of a pass side by side."""

import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from covpool.extractor.evaluation.compare import Comparison
from covpool.extractor.evaluation.inputs.targets import Targets as Labels
from covpool.extractor.evaluation.representations import fixed, pooled
from covpool.extractor.evaluation.ridge import Features, Ridge
from covpool.extractor.extraction.threads import one_torch_thread
from covpool.extractor.fitting.fits import METHODS
from covpool.extractor.fitting.source import MomentsList
from covpool.extractor.fitting.targets import Targets
from covpool.extractor.models.models import describe
from covpool.store.threads import LARGE
from covpool.store.values.moments import Moments
from tests.blas import blas_threads, watched

MANY = 2
COUNT = 300
DECOMPOSITIONS = ("eigh", "svd", "solve", "qr")
#: What each method decomposes with numpy; the two of torch only at their start.
FITS = {name: {"epochs": 2} if name in ("autoencoder", "end-to-end") else {} for name in METHODS}


@pytest.fixture(autouse=True)
def several() -> Iterator[None]:
    """BLAS and torch have several threads, also on a machine of one core."""
    before = torch.get_num_threads()
    torch.set_num_threads(MANY)
    with threadpool_limits(MANY, user_api="blas"):
        yield
        assert blas_threads() == {MANY} and torch.get_num_threads() == MANY, "what was changed is put back"
    torch.set_num_threads(before)


def source(width: int = 12) -> MomentsList:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(COUNT):
        x = rng.normal(size=(40, width)) * rng.uniform(0.5, 2, width)
        found.append(Moments(40, x.mean(0), x.T @ x / 40))
    return MomentsList(found, describe("ntv3-mini").recipe("up.6"))


class Watching(MomentsList):
    """Tells which threads read, and what torch has meanwhile."""

    threads: set[str]
    of_torch: set[int]

    def read(self, indices: Sequence[int]) -> Iterator[Moments]:
        for index in indices:
            self.threads.add(threading.current_thread().name)
            self.of_torch.add(torch.get_num_threads())
            yield self.moments[index]


@pytest.mark.parametrize("method", FITS)
def test_a_fit_decomposes_and_steps_on_one_thread(method: str) -> None:
    given = source()
    watching = Watching(given.moments, given.recipe)
    object.__setattr__(watching, "threads", set())
    object.__setattr__(watching, "of_torch", set())
    values = np.random.default_rng(1).normal(size=(COUNT, 3))
    targets = Targets(values, ("a", "b", "c")) if METHODS[method].supervised else None
    with watched(*DECOMPOSITIONS) as seen:
        METHODS[method].fit(watching, targets, k=2, name="fit", **FITS[method])
    assert seen and set(seen) == {1}
    if FITS[method]:
        assert 1 in watching.of_torch
    else:
        assert any("ThreadPool" in name for name in watching.threads), "parts are read side by side"


def test_a_method_gives_the_bits_of_its_function_called_here_and_now() -> None:
    from covpool.extractor.fitting.methods.principal_scores import fit_principal_scores

    one = METHODS["root-pca"].fit(source(), k=3, name="s")
    other = fit_principal_scores(source(), k=3, name="s")
    for name, tensor in one.tensors().items():
        assert np.array_equal(tensor, other.tensors()[name]), name


def test_a_probe_solves_small_systems_on_one_thread_and_large_ones_on_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    real = torch.linalg.cholesky_ex

    def watching(matrix: torch.Tensor) -> object:
        seen.append(torch.get_num_threads())
        return real(matrix)

    monkeypatch.setattr(torch.linalg, "cholesky_ex", watching)
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=shape).astype(np.float32) for shape in ((60, 20), (60, 4)))
    fit, held = np.arange(40), np.arange(40, 60)
    Ridge([x], y, fit, held).scores([1.0], 1.0)
    assert seen == [1]
    with one_torch_thread(LARGE):
        assert torch.get_num_threads() == MANY


def test_a_comparison_embeds_on_one_thread() -> None:
    given = source()
    rng = np.random.default_rng(0)
    labels = (rng.random((COUNT, 3)) < 0.5).astype(np.float32)
    length = Features(rng.normal(size=(COUNT, 1)).astype(np.float32))
    comparison = Comparison(
        Labels("terms", ("a", "b", "c"), ("a", "b", "c"), labels), np.arange(COUNT) % 3, length
    )
    representations = [fixed("length", "baseline", length), pooled("root", "model", given.moments, "root")]
    with watched("eigh") as seen:
        assert len(list(comparison.run(representations))) == 3
    assert len(seen) >= COUNT and set(seen) == {1}
