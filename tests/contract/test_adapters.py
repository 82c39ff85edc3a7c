"""What every adapter must do; a new model family is added to `ADAPTERS` and has to pass."""

import pickle
from functools import partial
from pathlib import Path

import pytest
import torch

from covpool.extractor import Adapter, LayerError, SequenceError, describe, load_adapter
from tests.extractor import golden_evo2
from tests.extractor.golden import checkpoint

BASES = "ACGTTGCAAGCTNNGATTACA" * 31
ADAPTERS = ["A", "B", "ntv3-mini", "evo2"]


@pytest.fixture(params=ADAPTERS)
def name_or_path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "ntv3-mini":
        return "ntv3-mini"
    make = golden_evo2.checkpoint if request.param == "evo2" else partial(checkpoint, model=request.param)
    return str(make(tmp_path / request.param))


@pytest.fixture
def adapter(name_or_path: str) -> Adapter:
    return load_adapter(name_or_path)


def test_each_token_of_each_layer_arrives_once_and_in_order(adapter: Adapter) -> None:
    names = [layer.name for layer in adapter.layers]
    arrived = dict.fromkeys(names, 0)
    for block in adapter.activations(BASES, layers=names):
        assert block.start == arrived[block.layer]
        arrived[block.layer] += len(block.values)
    assert arrived == {layer.name: layer.tokens(len(BASES)) for layer in adapter.layers}


def test_blocks_have_the_layers_width_and_the_adapters_dtype_and_device(adapter: Adapter) -> None:
    for layer in adapter.layers:
        for block in adapter.activations(BASES, layers=[layer.name]):
            assert block.values.shape[1] == layer.width
            assert block.values.dtype == adapter.dtype
            assert block.values.device == adapter.device
            assert not block.values.requires_grad


def test_only_the_layers_asked_for_arrive(adapter: Adapter) -> None:
    wanted = [adapter.layers[0].name, adapter.layers[-1].name]
    assert {block.layer for block in adapter.activations(BASES, layers=wanted)} == set(wanted)


def test_the_same_sequence_gives_the_same_activations(adapter: Adapter) -> None:
    name = adapter.layers[-1].name
    first, second = (
        torch.cat([b.values for b in adapter.activations(BASES, layers=[name])]) for _ in range(2)
    )
    assert torch.equal(first, second)


def test_a_layer_it_lacks_is_refused(adapter: Adapter) -> None:
    with pytest.raises(LayerError):
        list(adapter.activations(BASES, layers=["nowhere"]))


def test_one_base_is_enough(adapter: Adapter) -> None:
    for layer in adapter.layers:
        assert sum(len(b.values) for b in adapter.activations("A", layers=[layer.name])) == 1


def test_text_is_normalised(adapter: Adapter) -> None:
    name = adapter.layers[-1].name
    upper, lower, rna = (
        torch.cat([b.values for b in adapter.activations(text, layers=[name])])
        for text in (BASES, BASES.lower(), BASES.replace("T", "u"))
    )
    assert torch.equal(upper, lower)
    assert torch.equal(upper, rna)
    with pytest.raises(SequenceError):
        list(adapter.activations("MSTNPKPQRKTKRNTNRRPQDVKF", layers=[name]))


def test_a_batch_gives_each_sequence_what_it_gets_alone(name_or_path: str) -> None:
    # In float64, where only a mistake is larger than 1e-10 of a layer's largest value; rounding is 1e-13.
    adapter = load_adapter(name_or_path, device="cpu", dtype="float64")
    texts = [BASES, BASES[:5], BASES[:200]]
    names = [adapter.layers[0].name, adapter.layers[-1].name]
    together: dict[tuple[int, str], list[torch.Tensor]] = {}
    for index, block in adapter.batch(texts, layers=names):
        together.setdefault((index, block.layer), []).append(block.values)
    for index, text in enumerate(texts):
        for name in names:
            alone = torch.cat([b.values for b in adapter.activations(text, layers=[name])])
            found = torch.cat(together[index, name])
            torch.testing.assert_close(found, alone, rtol=0, atol=1e-10 * alone.abs().max().item())


def test_a_described_model_is_the_same_in_another_process(name_or_path: str) -> None:
    model = describe(name_or_path)
    assert pickle.loads(pickle.dumps(model)) == model
