"""Tiled, batched evaluation equals the untiled forward, one sequence at a time, for every tap.

Float64, 1e-10 relative to the largest activation of the tap (seen: below 2e-14).
"""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from covpool.extractor.networks.ntv3.config import NTv3Config, UpsampleType
from covpool.extractor.networks.ntv3.network import NTv3
from covpool.extractor.networks.ntv3.spans import Reach
from covpool.extractor.networks.ntv3.tiles import TiledForward
from tests.extractor.golden import relative_error

EXACT = 1e-10
SIZES = st.tuples(st.sampled_from([3, 5, 7]), st.sampled_from(["repeat+conv", "conv_transpose"]))


@cache
def _network(downsamples: int, upsampling: UpsampleType) -> NTv3:
    """A small seeded network whose norms and biases are far from their neutral values."""
    torch.manual_seed(downsamples)
    config = NTv3Config(
        alphabet_size=11,
        token_embed_dim=4,
        conv_init_embed_dim=6,
        embed_dim=12,
        num_downsamples=downsamples,
        num_layers=2,
        attention_heads=2,
        key_size=6,
        ffn_embed_dim=16,
        layer_norm_eps=1e-5,
        deconv_upsample_type=upsampling,
    )
    network = NTv3(config).double().eval().requires_grad_(False)
    for name, parameter in network.named_parameters():
        if "layer_norm" in name or name.endswith("bias"):
            parameter.add_(0.5 * torch.randn_like(parameter))
    return network


def _names(network: NTv3) -> frozenset[str]:
    return frozenset(name for name, _, _ in network.config.layers)


def _ids(length: int, seed: int, batch: int = 1) -> Tensor:
    return torch.randint(6, 11, (batch, length), generator=torch.Generator().manual_seed(seed))


def _tiled(
    network: NTv3,
    ids: Tensor,
    tile: int,
    names: frozenset[str],
    lengths: list[int] | None = None,
    reach: Reach | None = None,
) -> dict[str, Tensor]:
    pieces: dict[str, list[Tensor]] = {}
    lengths = lengths or [ids.shape[1]] * len(ids)
    for stage in TiledForward(network, tile, reach=reach).run(ids, lengths, names):
        arrived = sum(piece.shape[1] for piece in pieces.get(stage.name, []))
        assert stage.span[0] == arrived, "each position once and in order"
        pieces.setdefault(stage.name, []).append(stage.values)
    return {name: torch.cat(parts, dim=1) for name, parts in pieces.items()}


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(1, 12), st.integers(1, 1600), st.integers(0, 5))
def test_any_tile_size_gives_every_tap_of_the_untiled_forward(
    size: tuple[int, UpsampleType], tokens: int, tile: int, seed: int
) -> None:
    network = _network(*size)
    ids = _ids(tokens * network.config.multiple, seed)
    computed = _tiled(network, ids, tile, _names(network))
    expected = dict(network.stages(ids))
    assert computed.keys() == expected.keys()
    for name, values in expected.items():
        assert computed[name].shape == values.shape
        assert relative_error(computed[name], values) < EXACT, name


@pytest.mark.parametrize("upsampling", ["repeat+conv", "conv_transpose"])
@pytest.mark.parametrize("downsamples", [3, 5, 7])
@pytest.mark.parametrize("tokens", [1, 3, 4, 5, 8, 9])
def test_one_tile_one_token_over_and_a_short_sequence(
    downsamples: int, upsampling: UpsampleType, tokens: int
) -> None:
    # A tile of four tokens: shorter than one tile, exactly one, one token over, two, two and one over.
    network = _network(downsamples, upsampling)
    ids = _ids(tokens * network.config.multiple, tokens)
    computed = _tiled(network, ids, 4 * network.config.multiple, _names(network))
    for name, values in network.stages(ids):
        assert relative_error(computed[name], values) < EXACT, name


@settings(max_examples=40, deadline=None)
@given(SIZES, st.data())
def test_any_subset_of_taps_equals_the_same_taps_of_a_full_run(
    size: tuple[int, UpsampleType], data: st.DataObject
) -> None:
    network = _network(*size)
    names = data.draw(st.frozensets(st.sampled_from(sorted(_names(network))), min_size=1, max_size=4))
    ids = _ids(5 * network.config.multiple, 1)
    tile = data.draw(st.integers(1, 6)) * network.config.multiple
    computed = _tiled(network, ids, tile, names)
    expected = dict(network.stages(ids))
    assert computed.keys() == names
    for name in names:
        assert relative_error(computed[name], expected[name]) < EXACT, name


@settings(max_examples=40, deadline=None)
@given(SIZES, st.lists(st.integers(1, 9), min_size=2, max_size=5), st.integers(1, 10))
def test_batch_mates_and_padding_do_not_matter(
    size: tuple[int, UpsampleType], tokens: list[int], tile: int
) -> None:
    network = _network(*size)
    lengths = [count * network.config.multiple for count in tokens]
    # What lies behind a member's end is arbitrary, not even N.
    ids = _ids(max(lengths), 3, batch=len(lengths))
    computed = _tiled(network, ids, tile * network.config.multiple, _names(network), lengths)
    for index, length in enumerate(lengths):
        for name, values in network.stages(ids[index : index + 1, :length]):
            own = computed[name][index : index + 1, : values.shape[1]]
            assert relative_error(own, values) < EXACT, (name, length)


@pytest.mark.parametrize(
    ("shrunk", "tap"),
    [(Reach(stem=6), "transformer.0"), (Reach(down=1), "transformer.0"), (Reach(up=0), "last up")],
)
@pytest.mark.parametrize("upsampling", ["repeat+conv", "conv_transpose"])
@pytest.mark.parametrize("downsamples", [3, 5, 7])
def test_a_halo_one_position_too_small_is_not_exact(
    downsamples: int, upsampling: UpsampleType, shrunk: Reach, tap: str
) -> None:
    network = _network(downsamples, upsampling)
    ids = _ids(8 * network.config.multiple, 2)
    name = f"up.{downsamples - 1}" if tap == "last up" else tap
    found = _tiled(network, ids, 2 * network.config.multiple, frozenset([name]), reach=shrunk)[name]
    assert relative_error(found, dict(network.stages(ids))[name]) > 1000 * EXACT


def _blocks_run(network: NTv3, names: frozenset[str]) -> set[str]:
    """Names of the blocks that a run of these taps executes."""
    run: set[str] = set()
    hooks = [
        module.register_forward_hook(lambda *_, name=name: run.add(name))
        for name, module in network.named_modules()
        if (name.count(".") == 1 and name.split(".")[1].isdigit()) or name == "lm_head"
    ]
    _tiled(network, _ids(6 * network.config.multiple, 0), 2 * network.config.multiple, names)
    for hook in hooks:
        hook.remove()
    return run


def test_only_what_the_taps_need_is_run() -> None:
    network = _network(3, "repeat+conv")
    down = {f"conv_tower_blocks.{i}" for i in range(3)}
    layers = {f"transformer_blocks.{i}" for i in range(2)}
    assert _blocks_run(network, frozenset(["stem"])) == set()
    assert _blocks_run(network, frozenset(["down.1"])) == {"conv_tower_blocks.0", "conv_tower_blocks.1"}
    assert _blocks_run(network, frozenset(["transformer.0"])) == down | {"transformer_blocks.0"}
    assert _blocks_run(network, frozenset(["transformer.1", "stem"])) == down | layers
    assert _blocks_run(network, frozenset(["up.0"])) == down | layers | {"deconv_tower_blocks.0"}


def test_feed_forward_slices_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    network = _network(3, "conv_transpose")
    ids = _ids(40 * network.config.multiple, 4)
    whole = dict(network.stages(ids))
    monkeypatch.setattr("covpool.extractor.networks.ntv3.network.FEED_FORWARD_TOKENS", 7)
    for name, values in network.stages(ids):
        assert relative_error(values, whole[name]) < EXACT
