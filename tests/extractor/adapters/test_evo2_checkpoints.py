"""Evo 2 checkpoints load exactly as published, in every published form, or are refused by name."""

import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from covpool.extractor import CheckpointError, LayerError, Options, describe, load_adapter
from covpool.extractor.adapters.evo2 import Evo2Adapter
from covpool.extractor.networks.evo2.config import Evo2Config
from covpool.extractor.networks.evo2.network import Evo2
from covpool.extractor.networks.evo2.published import PUBLISHED
from tests.extractor import golden
from tests.extractor.golden_evo2 import activations, checkpoint, config, network, pickled, tensors

#: What real files hold beside the weights.
EXTRA = {
    "blocks.0.projections._extra_state": io.BytesIO(b"scales"),
    "blocks.3.mixer.dense._extra_state": io.BytesIO(b""),
    "blocks.2.mixer.mixer.filter.t": torch.arange(8.0),
}


def _network(directory: Path, dtype: str = "float64") -> Evo2:
    adapter = load_adapter(str(directory), device="cpu", dtype=dtype)
    assert isinstance(adapter, Evo2Adapter)
    return adapter.network


@pytest.mark.parametrize("form", ["safetensors", "pt", "parts", "extra", "many parts and extra"])
def test_every_published_form_gives_the_same_network(tmp_path: Path, form: str) -> None:
    where = tmp_path / "tiny"
    extra = EXTRA if "extra" in form else {}
    parts = {"parts": 3, "many parts and extra": 12}.get(form, 1)
    found = _network(checkpoint(where) if form == "safetensors" else pickled(where, parts, extra))
    ids, names = tensors("len64")["input_ids"], frozenset(["norm"])
    expected = activations(network(torch.float64), ids, names)["norm"]
    assert torch.equal(activations(found, ids, names)["norm"], expected)


def test_poles_residues_and_frequencies_are_never_narrowed(tmp_path: Path) -> None:
    found = _network(checkpoint(tmp_path / "m"), "bfloat16")
    kept = {name.rpartition(".")[2]: t.dtype for name, t in found.state_dict().items()}
    assert {name for name, dtype in kept.items() if dtype == torch.float32} == {
        "log_poles",
        "residues",
        "inv_freq",
    }
    poles = found.state_dict()["blocks.2.filter.log_poles"]
    assert torch.equal(poles, tensors("state_dict")["blocks.2.filter.log_poles"])


def test_two_networks_of_one_file_do_not_share_what_casting_changes() -> None:
    wide = network(torch.float64)
    network(torch.bfloat16)
    assert (
        wide.get_submodule("blocks.3.inner_mha_cls.rotary_emb").get_buffer("inv_freq").dtype == torch.float64
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("blocks.2.filter.residues"), r"1 keys missing: blocks\.2\.filter\.residues"),
        (lambda w: w.update(surplus=torch.ones(1)), r"1 keys unexpected: surplus"),
        (
            lambda w: w.update({"blocks.0.filter._extra_state": torch.ones(1)}),
            r"unexpected: blocks\.0\.filter\._extra_state",
        ),
        (
            lambda w: w.update({"norm.scale": torch.ones(63)}),
            r"norm\.scale \(63,\) instead of \(64,\)",
        ),
    ],
)
def test_any_other_key_is_refused_by_name(tmp_path: Path, change: Any, message: str) -> None:
    where = checkpoint(tmp_path / "m")
    weights = dict(tensors("state_dict"))
    change(weights)
    save_file(weights, where / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_adapter(str(where))


def test_objects_that_are_not_tensors_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"unexpected: blocks\.9\.note"):
        load_adapter(str(pickled(tmp_path / "m", extra={"blocks.9.note": io.BytesIO(b"x")})))


class _Runs:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_pt_file_runs_no_code(tmp_path: Path) -> None:
    created = tmp_path / "created"
    where = pickled(tmp_path / "m", extra={"note": _Runs(created)})
    with pytest.raises(CheckpointError, match="not a readable pt file") as refused:
        load_adapter(str(where))
    assert "weights_only" not in str(refused.value)
    assert not created.exists()
    (where / "tiny.pt").write_bytes(pickle.dumps({"norm.scale": _Runs(created)}))
    with pytest.raises(CheckpointError, match="not a readable pt file"):
        load_adapter(str(where))
    assert not created.exists()


@pytest.mark.parametrize("damage", [b"", b"\x00" * 100, b"neither zip nor pickle" * 10])
@pytest.mark.parametrize("name", ["tiny.pt", "tiny.pt.part0"])
def test_a_damaged_pt_file_is_refused(tmp_path: Path, name: str, damage: bytes) -> None:
    where = pickled(tmp_path / "m")
    (where / "tiny.pt").unlink()
    (where / name).write_bytes(damage)
    with pytest.raises(CheckpointError, match="not a readable pt file"):
        load_adapter(str(where))


def test_a_truncated_pt_file_is_refused(tmp_path: Path) -> None:
    where = pickled(tmp_path / "m", parts=3)
    last = where / "tiny.pt.part2"
    last.write_bytes(last.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="not a readable pt file"):
        load_adapter(str(where))


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    where = pickled(tmp_path / "m", parts=3)
    (where / "tiny.pt.part1").unlink()
    with pytest.raises(CheckpointError, match=r"tiny\.pt\.part1 is missing"):
        describe(str(where))


def test_two_checkpoints_in_one_directory_are_refused(tmp_path: Path) -> None:
    where = pickled(tmp_path / "m")
    (where / "other.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"other\.pt, tiny\.pt"):
        describe(str(where))


def test_any_part_changes_the_digest(tmp_path: Path) -> None:
    where = pickled(tmp_path / "m", parts=3)
    before = describe(str(where)).weights
    part = where / "tiny.pt.part1"
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    assert describe(str(where)).weights != before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": None}, "hidden_size missing"),
        ({"hidden_size": 0, "hcl_filter_groups": 0}, "hidden_size must be a positive whole number"),
        ({"num_layers": 10}, "must name each of the 10 layers once"),
        ({"hcs_layer_idxs": [0, 4, 7, 1]}, "must name each of the 9 layers once"),
        ({"num_attention_heads": 3}, "over num_attention_heads"),
        ({"hcm_filter_groups": 7}, "hcm_filter_groups must divide hidden_size"),
        ({"hcm_filter_length": 64}, "orders the taps of the two differently"),
        ({"hcl_filter_groups": 8}, "hcl_filter_groups must equal hidden_size"),
        ({"eps": 0}, "eps must lie between 0 and 1"),
        ({"rotary_emb_scaling_factor": 0}, "rotary_emb_scaling_factor"),
        ({"column_split_hyena": True}, "column_split_hyena=True is not supported"),
        ({"hyena_flip_x1x2": True}, "hyena_flip_x1x2=True is not supported"),
        ({"tie_embeddings": False}, "tie_embeddings=False is not supported"),
        ({"evo2_style_activations": False}, "evo2_style_activations=False is not supported"),
        ({"attn_layer_idxs": 3}, "of the wrong kind"),
    ],
)
def test_an_impossible_config_is_refused_with_its_field(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        describe(str(checkpoint(tmp_path / "m", **change)))


@pytest.mark.parametrize("text", ["", "- 1", "a: [", "just text"])
def test_a_broken_yml_is_refused(tmp_path: Path, text: str) -> None:
    where = pickled(tmp_path / "m")
    (where / "config.yml").write_text(text)
    with pytest.raises(CheckpointError, match="YAML"):
        describe(str(where))


def test_layers_are_the_references_sub_modules(tmp_path: Path) -> None:
    model = describe(str(checkpoint(tmp_path / "m")))
    names = [layer.name for layer in model.layers]
    assert {"embedding_layer", "blocks.0.filter", "blocks.3.inner_mha_cls.Wqkv", "norm", "unembed"} <= set(
        names
    )
    assert model.layer().name == "blocks.7"
    assert model.layer("final").name == "norm"
    with pytest.raises(LayerError, match=r"closest: blocks\.5\.mlp"):
        model.layer("blocks.5.mpl")


def test_checkpoints_that_need_fp8_are_described_but_not_loaded(tmp_path: Path) -> None:
    where = checkpoint(tmp_path / "m", use_fp8_input_projections=True)
    with pytest.raises(CheckpointError, match=r"^model m: .*config\.\w+ asks for FP8 .* use a 7b checkpoint"):
        load_adapter(str(where), dtype="bfloat16")
    recipe = describe(str(where)).recipe("norm", dtype="bfloat16")
    assert recipe.dtype == "bfloat16, float8 projections"
    assert describe(str(where)).recipe("norm", dtype=recipe.dtype) == recipe


def test_the_7b_shape_runs_without_fp8_whatever_its_config_allows() -> None:
    seven = config(hidden_size=4096, hcl_filter_groups=4096, num_layers=32, use_fp8_input_projections=True)
    seven |= {"attn_layer_idxs": [3], "hcs_layer_idxs": [*range(4, 32)], "hcm_layer_idxs": [1, 0]}
    assert not Evo2Config.from_mapping(seven | {"hcl_layer_idxs": [2]}).float8_projections


@pytest.mark.parametrize(
    ("name", "billions", "context"),
    [
        ("evo2_1b_base", 1.11, 8192),
        ("evo2_7b_base", 6.48, 8192),
        ("evo2_7b_262k", 6.48, 262_144),
        ("evo2_7b", 6.58, 1_048_576),
        ("evo2_20b", 19.7, 1_048_576),
        ("evo2_40b_base", 40.3, 8192),
        ("evo2_40b", 41.1, 1_048_576),
    ],
)
def test_published_shapes_have_the_published_size_and_context(
    name: str, billions: float, context: int
) -> None:
    shape = PUBLISHED[name].config
    assert shape.parameter_count / 1e9 == pytest.approx(billions, rel=5e-3)
    assert shape.context == context


def test_parameter_count_follows_from_the_config() -> None:
    net = network(torch.float32)
    assert net.config.parameter_count == sum(p.numel() for p in net.parameters())


def test_the_keys_of_existing_ntv3_results_stay_as_they_were(tmp_path: Path) -> None:
    model = describe(str(golden.checkpoint(tmp_path / "tinyA")))
    recipe = model.recipe("up.6", Options(strand="both", skip_tokens=3), dtype="float32")
    assert recipe.digest == "5f1ea233df7105866cf027056ab25363549c8257349a6b681c81c4427ccd2aa1"
