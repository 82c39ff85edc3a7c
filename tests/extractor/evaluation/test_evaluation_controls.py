"""Baselines of the sequence, and controls that no training has shaped."""

from pathlib import Path

import numpy as np
import pytest
import torch

from covpool.extractor import describe, load_adapter
from covpool.extractor.errors import EvaluationError
from covpool.extractor.evaluation.baselines import codon_usage, log_length, word_frequencies, words
from covpool.extractor.evaluation.controls import (
    RandomFeatures,
    one_hot_windows,
    token_moments,
    untrained_checkpoint,
)
from covpool.extractor.evaluation.inputs.genes import CodingGene
from covpool.extractor.evaluation.representations import baselines, fitted, pooled
from covpool.extractor.evaluation.ridge import Index
from covpool.extractor.sequences.sequences import Sequence
from covpool.store.poolings.kinds import Pooling, pooling


def test_words_are_counted_at_every_base_and_codons_in_frame() -> None:
    result = word_frequencies(["AACNAAC", "AC"], k=2)
    named = dict(zip(words(2), result[0].tolist(), strict=True))
    assert named["AA"] == named["AC"] == 0.5 and sum(named.values()) == 1
    assert result[1][words(2).index("AC")] == 1
    codons = codon_usage(["ATGATGNAATT", "A"])
    assert codons[0][words(3).index("ATG")] == 1 and codons[1].sum() == 0


def test_one_hot_windows_hold_the_bases_around_each() -> None:
    tokens = one_hot_windows("ACGTN", reach=1).reshape(5, 4, 3)
    assert tokens[0].T.tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]]
    assert tokens[2].T.tolist() == [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert tokens[4].T.tolist() == [[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_random_features_are_the_relu_of_a_convolution_over_the_same_windows() -> None:
    features = RandomFeatures(6, seed=3, reach=2)
    windows = one_hot_windows("ACGTNACGGT", reach=2)
    expected = (windows @ features.kernel.flatten(1).T + features.bias).relu()
    assert torch.allclose(features("ACGTNACGGT"), expected, atol=1e-6)
    assert torch.equal(RandomFeatures(6, seed=3, reach=2).kernel, features.kernel)


def test_moments_of_tokens_are_those_of_the_matrix() -> None:
    tokens = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    (result,) = token_moments([tokens])
    assert result.count == 50 and result.dtype == np.float32
    assert result.second_moment == pytest.approx((tokens.T @ tokens / 50).numpy(), abs=1e-6)


def test_the_untrained_network_is_the_same_shape_with_weights_of_its_seed(tmp_path: Path) -> None:
    adapter = load_adapter("ntv3-mini", device="cpu")
    paths = [untrained_checkpoint(adapter, tmp_path / str(i), seed=seed) for i, seed in enumerate((0, 0, 1))]
    first, same, other = (describe(str(path)) for path in paths)
    assert first.weights == same.weights != other.weights != adapter.model.weights
    assert first.layers == adapter.model.layers and not first.trained
    assert first.default_layer == adapter.model.default_layer
    layer = first.default_layer
    (block,) = load_adapter(str(paths[0]), device="cpu").activations("ACGT" * 40, layers=[layer])
    assert bool(torch.isfinite(block.values).all()) and float(block.values.std()) > 0
    # Drawing the weights left the caller's own random numbers alone.
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    untrained_checkpoint(adapter, tmp_path, seed=9)
    assert torch.equal(torch.rand(1), expected)


def test_a_model_without_a_network_has_no_untrained_control(tmp_path: Path) -> None:
    class NoNetwork:
        model = describe("ntv3-mini")

    with pytest.raises(EvaluationError, match="without the untrained control"):
        untrained_checkpoint(NoNetwork(), tmp_path)  # type: ignore[arg-type]


def test_baselines_know_the_gene_alone() -> None:
    genes = [
        CodingGene(n, "c", 0, len(b), "+", Sequence(n, b), b, (n,), {})
        for n, b in (("a", "ATGAAA"), ("b", "ATG" * 9))
    ]
    result = {first.name: first.embed(np.array([0])) for first in baselines(genes)}
    assert {name: sum(f.values.shape[1] for f in blocks) for name, blocks in result.items()} == {
        "length": 3,
        "4-mers": 256,
        "codons": 64,
        "codons + 4-mers": 320,
    }
    assert log_length(genes)[1, 0] - log_length(genes)[0, 0] == pytest.approx(np.log(27 / 6))


def test_pooled_moments_are_embedded_as_the_store_embeds_them_and_fits_see_training_only() -> None:
    moments = list(token_moments(one_hot_windows("ACGTTGCA"[i:] * 3, reach=1) for i in range(5)))
    seen = []

    def fit(training: Index) -> Pooling:
        seen.append(len(training))
        return pooling("covariance")

    (block,) = pooled("tokens", "control", moments, "mean+std").embed(np.arange(3))
    assert block.standardise
    assert block.values[2] == pytest.approx(pooling("mean+std").embed(moments[2]))
    (block,) = fitted("own", "control", moments, fit).embed(np.array([0, 3]))
    assert seen == [2] and len(block.values) == 5
