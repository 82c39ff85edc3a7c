"""Any split of a sequence, in either schedule, gives every tap of the unsplit forward; so does any batch.

Float64, 1e-12 relative Frobenius (seen: below 1e-14).
"""

import copy
from functools import cache
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from covpool.extractor.networks.evo2.attention import attend
from covpool.extractor.networks.evo2.config import Evo2Config, Kind
from covpool.extractor.networks.evo2.filters import LongHyena, fast_length
from covpool.extractor.networks.evo2.network import Evo2, load
from covpool.extractor.networks.evo2.plan import ORDERS, Order
from tests.extractor.golden_evo2 import CPU, activations, network, relative_error, tensors
from tests.extractor.random_evo2 import random_weights

EXACT = 1e-12
KINDS: tuple[Kind, ...] = ("hcs", "hcm", "hcl", "attn")
ARRANGEMENTS = st.sampled_from(list(permutations(KINDS)))
ORDER = st.sampled_from(ORDERS)


@cache
def _network(kinds: tuple[Kind, ...], local: int) -> Evo2:
    """A small seeded network whose filters are short enough for short sequences to outlast them."""
    config = Evo2Config(
        hidden_size=8,
        num_layers=len(kinds),
        num_attention_heads=2,
        inner_mlp_size=12,
        hcs_filter_length=4,
        hcm_filter_length=9,
        hcs_filter_groups=2,
        hcm_filter_groups=4,
        attn_layer_idxs=tuple(i for i, kind in enumerate(kinds) if kind == "attn"),
        hcs_layer_idxs=tuple(i for i, kind in enumerate(kinds) if kind == "hcs"),
        hcm_layer_idxs=tuple(i for i, kind in enumerate(kinds) if kind == "hcm"),
        hcl_layer_idxs=tuple(i for i, kind in enumerate(kinds) if kind == "hcl"),
        max_seqlen=8192,
        vocab_size=90,
        rotary_emb_scaling_factor=2.0,
    )
    found = load(config, random_weights(config, seed=0), "random").cast(CPU, torch.float64)
    for module in found.modules():
        if isinstance(module, LongHyena):
            module.local = local
    return found


def _names(net: Evo2) -> frozenset[str]:
    return frozenset(name for name, _, _ in net.config.layers)


def _ids(length: int, seed: int, batch: int = 1) -> Tensor:
    return torch.randint(0, 90, (batch, length), generator=torch.Generator().manual_seed(seed))


@settings(max_examples=60, deadline=None)
@given(ARRANGEMENTS, st.integers(1, 80), st.integers(1, 90), st.integers(1, 40), ORDER, st.integers(0, 3))
def test_any_split_gives_every_tap_of_the_unsplit_forward(
    kinds: tuple[Kind, ...], length: int, piece: int, local: int, order: Order, seed: int
) -> None:
    ids = _ids(length, seed)
    expected = activations(_network(kinds, 2048), ids, _names(_network(kinds, 2048)))
    found = activations(_network(kinds, local), ids, frozenset(expected), piece, order)
    for name, values in expected.items():
        assert values.shape[1] == length
        assert relative_error(found[name], values) < EXACT, name


@settings(max_examples=25, deadline=None)
@given(
    ARRANGEMENTS,
    st.lists(st.integers(1, 60), min_size=2, max_size=5),
    st.integers(1, 70),
    ORDER,
)
def test_a_members_activations_do_not_depend_on_its_batch_mates(
    kinds: tuple[Kind, ...], lengths: list[int], piece: int, order: Order
) -> None:
    net = _network(kinds, 16)
    ids = _ids(max(lengths), 1, len(lengths))
    for index, length in enumerate(lengths):
        ids[index, length:] = 1
    together = activations(net, ids, _names(net), piece, order)
    for index, length in enumerate(lengths):
        alone = activations(net, ids[index : index + 1, :length], _names(net))
        for name, values in alone.items():
            assert relative_error(together[name][index : index + 1, :length], values) < EXACT, name


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("piece", [1, 7, 127, 128, 131])
def test_pieces_of_one_token_or_a_prime_give_the_golden_networks_taps(piece: int, order: Order) -> None:
    net = network(torch.float64)
    ids = tensors("len257")["input_ids"]
    names = _names(net)
    expected = activations(net, ids, names)
    found = activations(net, ids, names, piece, order)
    assert max(relative_error(found[name], expected[name]) for name in names) < EXACT


@pytest.mark.parametrize("sizes", [(1, 130, 700, 17, 1200), (512, 512, 512, 512), (3, 5, 2040)])
@torch.inference_mode()
def test_pieces_of_different_sizes_carry_their_state_on(sizes: tuple[int, ...]) -> None:
    net = network(torch.float64)
    ids = tensors("len2048")["input_ids"]
    names = frozenset(["blocks.6", "norm"])
    expected = activations(net, ids, names)
    x: Tensor = net.embedding_layer(ids.int())
    for index in range(net.config.num_layers):
        state = net.block(index).start(1, 2048, max(sizes))
        parts = torch.split_with_sizes(x, list(sizes), 1)
        x = torch.cat([[y for _, y in net.block(index).stages(part, state)][-1] for part in parts], 1)
        if index == 6:
            assert relative_error(x, expected["blocks.6"]) < EXACT
    assert relative_error(net.norm(x), expected["norm"]) < EXACT


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("tap", ["embedding_layer", "blocks.3.pre_norm", "blocks.3.mlp.l3", "blocks.3"])
def test_nothing_behind_the_deepest_tap_runs(tap: str, order: Order) -> None:
    shallow = copy.deepcopy(network(torch.float64))
    ids = tensors("len64")["input_ids"]
    expected = activations(shallow, ids, frozenset([tap]))[tap]
    del shallow.blocks[shallow.config.depth(tap) :]
    del shallow.norm
    found = activations(shallow, ids, frozenset([tap]), 50, order)[tap]
    assert relative_error(found, expected) < EXACT


@pytest.mark.parametrize("order", ORDERS)
def test_the_tap_on_wqkv_is_what_was_before_rotation(order: Order) -> None:
    net = network(torch.float64)
    names = frozenset(["blocks.3.pre_norm", "blocks.3.inner_mha_cls.Wqkv", "blocks.8"])
    found = activations(net, tensors("len64")["input_ids"], names, 20, order)
    unrotated = net.get_submodule("blocks.3.inner_mha_cls.Wqkv")(found["blocks.3.pre_norm"])
    assert relative_error(found["blocks.3.inner_mha_cls.Wqkv"], unrotated) < EXACT


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(0, 60), st.integers(1, 3))
def test_attention_of_the_newest_tokens_sees_all_up_to_each(tokens: int, before: int, heads: int) -> None:
    generator = torch.Generator().manual_seed(tokens)
    query, key, value = (
        torch.randn(2, count, heads, 6, generator=generator, dtype=torch.float64)
        for count in (tokens, before + tokens, before + tokens)
    )
    scores = torch.einsum("bthf,bnhf->bhtn", query, key) / 6**0.5
    hidden = torch.ones(tokens, before + tokens).triu(before + 1).bool()
    weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
    expected = torch.einsum("bhtn,bnhf->bthf", weights, value)
    assert relative_error(attend(query, key, value), expected) < EXACT


@given(st.integers(1, 20_000))
def test_a_fast_length_is_even_smooth_and_close(least: int) -> None:
    found = fast_length(least)
    assert least <= found <= max(2, 1.3 * least)
    assert found % 2 == 0
    for prime in (2, 3, 5):
        while found % prime == 0:
            found //= prime
    assert found == 1
