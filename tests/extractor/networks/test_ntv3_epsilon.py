"""A checkpoint's `layer_norm_eps` holds in the transformer blocks only; the towers always have 1e-5.

The published implementations are not at hand with other epsilons, so a plain float64 forward, which gives
their golden activations, says what is right (seen: 3e-14 relative).
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from covpool.extractor import describe, extract, load_adapter
from covpool.extractor.adapters.ntv3 import TOKEN_IDS
from covpool.extractor.networks.ntv3.network import NTv3
from covpool.extractor.networks.ntv3.tiles import TiledForward
from covpool.store import MomentsKey
from tests.extractor.golden import checkpoint, network, relative_error, tensors
from tests.extractor.plain_ntv3 import PlainNTv3

EXACT = 1e-12
#: Model, length in bp, species id. A repeats and convolves, B transposes, P is conditioned.
CASES = [("A", 1024, None), ("B", 264, None), ("P", 256, 6), ("P", 256, 7)]
#: Of tiny A, by its epsilon. The first is what covpool had before the towers kept their own.
KEYS = {
    1e-5: "89254056ec455e60ae63632719f16d0b514dd56e5634b837491d0f6eed35809f",
    1e-4: "7f69d03f880aa291eba048a0890e1b321c992c6166a0a0d503540a07790c9310",
}
BASES = "ACGTTGCAAGCTGATTACAAC" * 13


@cache
def _network(model: str, eps: float, dtype: torch.dtype = torch.float64) -> NTv3:
    golden = network(model, torch.float64)
    computed = NTv3(replace(golden.config, layer_norm_eps=eps))
    computed.load_state_dict(golden.state_dict())
    return computed.cast(torch.device("cpu"), dtype).eval().requires_grad_(False)


@cache
def _plain(model: str, length: int, species: int | None, eps: float) -> dict[str, Tensor]:
    taps = PlainNTv3(model, eps).taps(_ids(length)[0].numpy(), species)
    return {name: torch.from_numpy(values) for name, values in taps.items()}


def _ids(length: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(length).integers(6, 11, (1, length)))


def _species(species: int | None) -> Tensor | None:
    return None if species is None else torch.tensor([species])


@pytest.mark.parametrize("case", ["A_len256", "A_len1024_N", "B_len256"])
def test_the_plain_forward_gives_the_golden_activations(case: str) -> None:
    computed = PlainNTv3(case[0], 1e-5).taps(tensors(case)["input_ids"].long().numpy())
    expected = {k.split("/")[1]: v for k, v in tensors("float64_check").items() if k.startswith(f"{case}/")}
    compared = [name for name in expected if name.removesuffix(".res") in computed]
    assert len(compared) >= 4
    for name in compared:
        assert relative_error(torch.from_numpy(computed[name.removesuffix(".res")]), expected[name]) < EXACT


@pytest.mark.parametrize("row", [0, 1])
def test_the_plain_forward_gives_the_golden_activations_of_a_species(row: int) -> None:
    golden = tensors("P_post_len256")
    species = int(golden["species_ids"][row])
    computed = PlainNTv3("P", 1e-5).taps(golden["input_ids"][row].long().numpy(), species)
    for name, values in computed.items():
        if name != "stem":
            expected = golden.get(name, golden.get(f"{name}.res"))
            assert expected is not None
            # The golden file is float32; its own tolerance.
            torch.testing.assert_close(torch.from_numpy(values).float(), expected[row], atol=3e-4, rtol=0)


@pytest.mark.parametrize("eps", [1e-3, 1e-4, 1e-5, 1e-6, 1e-12])
@pytest.mark.parametrize(("model", "length", "species"), CASES)
def test_every_tap_of_any_epsilon_is_that_of_the_plain_forward(
    model: str, length: int, species: int | None, eps: float
) -> None:
    expected = _plain(model, length, species, eps)
    computed = dict(_network(model, eps).stages(_ids(length), _species(species)))
    assert computed.keys() == expected.keys()
    for name, values in expected.items():
        assert relative_error(computed[name][0], values) < EXACT, name


@pytest.mark.parametrize("eps", [1e-3, 1e-4])
@pytest.mark.parametrize(("model", "length", "species"), CASES)
def test_so_is_every_tap_computed_in_tiles(model: str, length: int, species: int | None, eps: float) -> None:
    expected = _plain(model, length, species, eps)
    net = _network(model, eps)
    pieces: dict[str, list[Tensor]] = {}
    forward = TiledForward(net, 2 * net.config.multiple)
    for stage in forward.run(_ids(length), [length], frozenset(expected), _species(species)):
        pieces.setdefault(stage.name, []).append(stage.values)
    for name, values in expected.items():
        assert len(pieces[name]) > 1 or name.startswith("transformer")
        assert relative_error(torch.cat(pieces[name], dim=1)[0], values) < EXACT, name


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.1)])
@pytest.mark.parametrize(("model", "length", "species"), CASES)
def test_narrow_dtypes_follow(
    model: str, length: int, species: int | None, dtype: torch.dtype, tolerance: float
) -> None:
    # An epsilon that no rounding hides.
    expected = _plain(model, length, species, 0.5)
    for name, values in _network(model, 0.5, dtype).stages(_ids(length), _species(species)):
        error = torch.linalg.norm(values[0].double() - expected[name])
        assert error < tolerance * torch.linalg.norm(expected[name]), name


def test_the_towers_do_not_see_the_configured_epsilon_and_the_transformer_does() -> None:
    plain, other = (dict(_network("A", eps).stages(_ids(1024))) for eps in (1e-5, 1e-3))
    assert torch.equal(plain["down.6"], other["down.6"])
    assert relative_error(other["transformer.0"], plain["transformer.0"]) > 1e-4


def test_a_checkpoint_directory_is_computed_so_too(tmp_path: Path) -> None:
    where = checkpoint(tmp_path / "tiny", "B", layer_norm_eps=1e-3)
    adapter = load_adapter(str(where), device="cpu", dtype="float64")
    bases = BASES[:264]
    computed = extract(adapter, bases, ["up.2"])["up.2"].second_moment
    x = PlainNTv3("B", 1e-3).taps(np.array([TOKEN_IDS[base] for base in bases]))["up.2"]
    expected = x.T @ x / len(x)
    assert np.linalg.norm(computed - expected) < EXACT * np.linalg.norm(expected)


def test_only_checkpoints_with_another_epsilon_have_new_keys(tmp_path: Path) -> None:
    """Stored moments of checkpoints with 1e-5 were right and stay; the others are computed again."""
    keys, versions = {}, {}
    for eps in (1e-5, 1e-4):
        # A key holds the directory's name.
        model = describe(str(checkpoint(tmp_path / str(eps) / "tiny", layer_norm_eps=eps)))
        recipe = model.recipe("up.6")
        keys[eps], versions[eps] = MomentsKey("0" * 64, 100, recipe).digest, recipe.adapter_version
    assert versions == {1e-5: 1, 1e-4: 2}
    assert keys == KEYS
