"""Extraction: the moments of a sequence are those of its own tokens, on the strand asked for."""

from collections.abc import Iterator
from collections.abc import Sequence as Names
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from covpool.extractor import (
    ActivationError,
    Adapter,
    Block,
    LayerError,
    Sequence,
    SequenceError,
    extract,
    load_adapter,
    normalise,
    reverse_complement,
)
from tests.extractor.golden import checkpoint, tensors

BASES = "".join(
    "ACGTN"[i] for i in np.random.default_rng(7).choice(5, 1000, p=[0.28, 0.22, 0.22, 0.27, 0.01])
)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    return load_adapter(str(checkpoint(tmp_path_factory.mktemp("tiny") / "tinyA")), dtype="float64")


def _close(found: NDArray[Any], expected: NDArray[Any], tolerance: float = 1e-12) -> bool:
    return bool(np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected))


def test_moments_equal_those_of_all_activations_at_once(adapter: Adapter) -> None:
    for layer in ("stem", "down.3", "transformer.1", "up.6"):
        x = torch.cat([b.values for b in adapter.activations(BASES, layers=[layer])]).numpy()
        found = extract(adapter, BASES, [layer])[layer]
        assert found.count == len(x)
        assert _close(found.mean, x.mean(0))
        assert _close(found.second_moment, x.T @ x / len(x))


def test_moments_of_the_golden_long_case_equal_the_reference(tmp_path: Path) -> None:
    golden, check = tensors("A_long65536"), tensors("float64_check")
    letters = dict(zip((6, 7, 8, 9, 10), "ATCGN", strict=True))
    bases = "".join(letters[int(i)] for i in golden["input_ids"])
    found = extract(
        load_adapter(str(checkpoint(tmp_path)), dtype="float64"), bases, ["transformer.2", "up.6"]
    )
    for layer, name in (("transformer.2", "after_transformer_embedding"), ("up.6", "up.6")):
        expected = check[f"A_long65536/{name}.second_moment"].numpy()
        assert found[layer].count == int(golden[f"{name}.count"])
        assert _close(found[layer].second_moment, expected, 1e-10)


@pytest.mark.parametrize("length", [1, 2, 127, 128, 129, 640, 1000])
def test_the_count_is_the_tokens_that_hold_a_base_of_the_sequence(adapter: Adapter, length: int) -> None:
    found = extract(adapter, BASES[:length], [layer.name for layer in adapter.layers])
    for layer in adapter.layers:
        assert found[layer.name].count == -(-length // layer.bases_per_token), layer


def test_padding_with_n_is_dropped(adapter: Adapter) -> None:
    # The golden case: 1000 bp and 24 N give the same activations; only the first 1000 rows count.
    padded = torch.cat([b.values for b in adapter.activations(BASES + "N" * 24, layers=["up.6"])]).numpy()
    own = extract(adapter, BASES, ["up.6"])["up.6"]
    assert _close(own.second_moment, padded[:1000].T @ padded[:1000] / 1000)


def test_the_sequences_own_n_are_counted(adapter: Adapter) -> None:
    assert extract(adapter, "ACGT" + "N" * 60, ["up.6"])["up.6"].count == 64


def test_case_does_not_matter(adapter: Adapter) -> None:
    upper, lower = (extract(adapter, text, ["up.6"])["up.6"] for text in (BASES, BASES.lower()))
    assert (upper.second_moment == lower.second_moment).all()


def test_the_minus_strand_is_the_reverse_complement(adapter: Adapter) -> None:
    minus = extract(adapter, BASES, ["up.6"], strand="-")["up.6"]
    assert (
        minus.second_moment == extract(adapter, reverse_complement(BASES), ["up.6"])["up.6"].second_moment
    ).all()


def test_both_strands_add(adapter: Adapter) -> None:
    plus, minus, both = (extract(adapter, BASES, ["up.6"], strand=s)["up.6"] for s in ("+", "-", "both"))
    assert both.count == 2 * plus.count
    assert _close(both.second_moment, plus.merge(minus).second_moment)
    assert _close(both.mean, (plus.mean + minus.mean) / 2)


@pytest.mark.parametrize("skip", [1, 7, 999])
def test_skipped_tokens_are_left_out(adapter: Adapter, skip: int) -> None:
    x = torch.cat([b.values for b in adapter.activations(BASES, layers=["up.6"])]).numpy()[skip:]
    found = extract(adapter, BASES, ["up.6"], skip_tokens=skip)["up.6"]
    assert found.count == len(x)
    assert _close(found.second_moment, x.T @ x / len(x))


def test_skipping_every_token_is_refused(adapter: Adapter) -> None:
    with pytest.raises(SequenceError, match="leaves none of its 1000 tokens"):
        extract(adapter, BASES, ["up.6"], skip_tokens=1000)


def test_several_layers_in_one_pass_equal_one_by_one(adapter: Adapter) -> None:
    names = ["stem", "down.6", "transformer.2", "up.0", "final"]
    together = extract(adapter, BASES, names)
    assert list(together) == names
    for name in names:
        assert (together[name].second_moment == extract(adapter, BASES, [name])[name].second_moment).all()


def test_progress_counts_every_token_once(adapter: Adapter) -> None:
    seen: list[int] = []
    extract(adapter, BASES, ["up.6"], strand="both", progress=seen.append)
    assert sum(seen) == 2 * len(BASES)


def test_float32_is_close_to_float64(adapter: Adapter, tmp_path: Path) -> None:
    single = load_adapter(str(checkpoint(tmp_path / "tinyA")), dtype="float32")
    found, exact = (extract(one, BASES, ["up.6"])["up.6"].second_moment for one in (single, adapter))
    assert _close(found, exact, 1e-5)


def test_bad_input_is_refused(adapter: Adapter) -> None:
    with pytest.raises(SequenceError, match="empty"):
        extract(adapter, "", ["up.6"])
    with pytest.raises(LayerError, match="no layer"):
        extract(adapter, "ACGT", ["up.9"])
    with pytest.raises(ValueError, match="strand"):
        extract(adapter, "ACGT", ["up.6"], strand="*")  # type: ignore[call-overload]


class _Truncating:
    """An adapter that loses, repeats or spoils tokens of another one."""

    def __init__(self, inner: Adapter, fault: str) -> None:
        self.inner, self.fault = inner, fault
        self.model, self.layers, self.dtype, self.device = (
            inner.model,
            inner.layers,
            inner.dtype,
            inner.device,
        )
        self.budget = inner.budget
        self.part = inner.part
        self.recipe = inner.recipe

    def activations(
        self, sequence: str | Sequence, *, layers: Names[str], condition: str = ""
    ) -> Iterator[Block]:
        for block in self.inner.activations(sequence, layers=layers):
            if self.fault == "short":
                yield Block(block.layer, 0, block.values[:-1])
            elif self.fault == "gap":
                yield Block(block.layer, 0, block.values[:10])
                yield Block(block.layer, 11, block.values[11:])
            elif self.fault == "nan":
                yield Block(block.layer, 0, block.values * float("nan"))

    def batch(
        self, sequences: Names[str | Sequence], *, layers: Names[str], condition: str = "", start: int = 0
    ) -> Iterator[tuple[int, Block]]:
        for index, sequence in enumerate(sequences):
            for block in self.activations(sequence, layers=layers):
                yield index, block


@pytest.mark.parametrize("fault", ["short", "gap", "nan"])
def test_a_partial_or_spoilt_result_is_never_returned(adapter: Adapter, fault: str) -> None:
    with pytest.raises(ActivationError):
        extract(_Truncating(adapter, fault), normalise(BASES), ["up.6"])
