"""Interpretation: ranks, pairs, similarities and neighbours are what their definitions say."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from covpool.store import Moments, PoolingError, pooling
from covpool.store.interpretation import similarity
from covpool.store.interpretation.features import association, spectrum, strongest_pairs
from covpool.store.interpretation.figures import draw_matrix, draw_spectra
from covpool.store.interpretation.similarity import cosine_matrix, linear_cka, moment_gram, nearest_neighbours
from covpool.store.testing import example_key, example_moments

X = np.random.default_rng(0).normal(0.5, 1.0, (400, 6)) * np.array([1, 2, 3, 4, 5, 6])
X[:, 4] += 3 * X[:, 1]
OF_X = Moments(400, X.mean(0), X.T @ X / 400)
MANY = [example_moments(str(index)) for index in range(30)]


def cosine(one: Moments, other: Moments) -> float:
    a, b = (each.second_moment.astype(float).ravel() for each in (one, other))
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def diagonal(*values: float) -> Moments:
    return Moments(1, np.zeros(len(values)), np.diag(np.array(values, float)))


def test_the_effective_rank_counts_equal_directions_and_weighs_unequal_ones() -> None:
    assert spectrum(diagonal(2, 2, 2, 0)).effective_rank == pytest.approx(3)
    assert spectrum(diagonal(2, 2, 2, 0)).participation_ratio == pytest.approx(3)
    assert spectrum(diagonal(5, 0, 0)).effective_rank == pytest.approx(1)
    uneven = spectrum(diagonal(8, 1, 1))
    assert 1 < uneven.participation_ratio < uneven.effective_rank < 3
    assert uneven.directions(0.8) == 1
    assert uneven.directions(0.85) == 2
    zero = spectrum(diagonal(0, 0))
    assert (zero.effective_rank, zero.participation_ratio) == (0, 0)


def test_the_spectrum_is_that_of_the_activations_singular_values() -> None:
    expected = np.linalg.svd(X, compute_uv=False) ** 2 / 400
    np.testing.assert_allclose(spectrum(OF_X).values, expected, rtol=1e-10)
    centred = np.linalg.svd(X - X.mean(0), compute_uv=False) ** 2 / 400
    np.testing.assert_allclose(spectrum(OF_X, centred=True).values, centred, rtol=1e-10)


def test_the_strongest_correlation_is_the_planted_one() -> None:
    (first, *_), correlations = strongest_pairs(OF_X, 3), np.corrcoef(X.T)
    assert (first.first, first.second) == (1, 4)
    assert first.value == pytest.approx(correlations[1, 4])
    np.testing.assert_allclose(association(OF_X, "correlation"), correlations, rtol=1e-9, atol=1e-12)
    magnitudes = [abs(pair.value) for pair in strongest_pairs(OF_X, 99, by="covariance")]
    assert len(magnitudes) == 15
    assert magnitudes == sorted(magnitudes, reverse=True)


def test_a_feature_that_never_varies_correlates_with_none() -> None:
    x = X.astype(np.float32)
    x[:, 2] = 7
    moments = Moments(400, x.mean(0), (x.T @ x / 400).astype(np.float32))
    assert not association(moments, "correlation")[2].any()
    assert association(moments, "cosine")[2].all()


def test_an_unknown_measure_is_refused() -> None:
    with pytest.raises(ValueError, match="choose correlation"):
        strongest_pairs(OF_X, by="tea")  # type: ignore[arg-type]


def test_the_cosine_is_that_of_the_matrices_whatever_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    gram = moment_gram(lambda at: [MANY[index] for index in at], len(MANY))
    monkeypatch.setattr(similarity, "BLOCK_BYTES", 1000)
    np.testing.assert_allclose(moment_gram(lambda at: [MANY[i] for i in at], len(MANY)), gram, rtol=1e-13)
    cosines = cosine_matrix(gram)
    np.testing.assert_allclose(np.diagonal(cosines), 1, rtol=1e-12)
    assert cosines[3, 7] == pytest.approx(cosine(MANY[3], MANY[7]))
    assert moment_gram(lambda at: [], 0).shape == (0, 0)
    assert cosine_matrix(np.diag([0.0, 1.0]))[0, 1] == 0


def test_cka_ignores_rotation_scale_and_shift_of_either_view() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 5))
    rotation = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    y = 3 * x @ rotation + 2
    assert linear_cka(x @ x.T, y @ y.T) == pytest.approx(1)


def test_cka_of_unrelated_views_is_near_zero() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 30, 500))
    assert abs(linear_cka(x @ x.T, y @ y.T)) < 0.1


def test_alignment_refuses_what_it_cannot_compare() -> None:
    with pytest.raises(ValueError, match="four genes"):
        linear_cka(np.eye(3), np.eye(3))
    with pytest.raises(ValueError, match="same genes"):
        linear_cka(np.eye(5), np.eye(6))


@pytest.mark.parametrize("batch_bytes", [1, 64 << 20])
def test_neighbours_are_those_of_a_full_search(monkeypatch: pytest.MonkeyPatch, batch_bytes: int) -> None:
    monkeypatch.setattr("covpool.store.interpretation.similarity.BATCH_BYTES", batch_bytes)
    items = [(example_key(str(index)), moments) for index, moments in enumerate(MANY)]
    neighbours = nearest_neighbours(pooling("second_moment"), MANY[:2], iter(items), 4)
    for query, nearest in zip(MANY[:2], neighbours, strict=True):
        expected = sorted(((cosine(query, one), key) for key, one in items), key=lambda one: -one[0])[:4]
        assert [neighbour.key for neighbour in nearest] == [key for _, key in expected]
        np.testing.assert_allclose([x.similarity for x in nearest], [value for value, _ in expected])
        assert nearest[0].similarity == pytest.approx(1)


def test_neighbours_of_nothing_or_of_another_width_are_refused() -> None:
    items = [(example_key("a"), example_moments("a", 9))]
    with pytest.raises(PoolingError, match="nothing"):
        nearest_neighbours(pooling("mean"), [], items)
    with pytest.raises(PoolingError, match="9 numbers against 8"):
        nearest_neighbours(pooling("mean"), [MANY[0]], items)


def test_figures_are_drawn(tmp_path: Path) -> None:
    draw_spectra({"a": spectrum(OF_X), "zero": spectrum(diagonal(0, 0))}, tmp_path / "s.png")
    draw_matrix(association(OF_X, "correlation"), list("abcdef"), "correlation", tmp_path / "m.svg")
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    assert "correlation" in (tmp_path / "m.svg").read_text()


def test_moments_keep_their_values() -> None:
    """Reading off never writes into what is cached."""
    before = dataclasses.replace(OF_X, second_moment=OF_X.second_moment.copy())
    for by in ("correlation", "covariance", "second_moment", "cosine"):
        strongest_pairs(OF_X, by=by)
    spectrum(OF_X, centred=True)
    assert np.array_equal(before.second_moment, OF_X.second_moment)
