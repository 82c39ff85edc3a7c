"""Checkpoints load exactly as published, or are refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from covpool.extractor import CheckpointError, LayerError, ModelNotFoundError, describe, load_adapter
from covpool.extractor.networks.ntv3.config import NTv3Config
from covpool.extractor.networks.ntv3.network import NTv3
from tests.extractor.golden import GOLDEN, checkpoint


def _edit_weights(directory: Path, edit: object) -> Path:
    path = directory / "model.safetensors"
    weights = load_file(path)
    assert callable(edit)
    edit(weights)
    save_file(weights, path)
    return directory


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    where = _edit_weights(checkpoint(tmp_path / "m"), lambda w: w.pop("core.stem.conv.bias"))
    with pytest.raises(CheckpointError, match=r"1 keys missing: stem\.conv\.bias"):
        load_adapter(str(where))


def test_an_unexpected_key_is_named(tmp_path: Path) -> None:
    where = _edit_weights(
        checkpoint(tmp_path / "m"), lambda w: w.__setitem__("core.extra.weight", torch.ones(2))
    )
    with pytest.raises(CheckpointError, match=r"1 keys unexpected: extra\.weight"):
        load_adapter(str(where))


def test_a_misshapen_key_is_named_with_both_shapes(tmp_path: Path) -> None:
    name = "core.transformer_blocks.1.fc2.weight"
    where = _edit_weights(
        checkpoint(tmp_path / "m"), lambda w: w.__setitem__(name, w[name][:, :-1].contiguous())
    )
    with pytest.raises(CheckpointError, match=r"fc2\.weight \(40, 79\) instead of \(40, 80\)"):
        load_adapter(str(where))


def test_the_rotary_buffer_may_be_absent(tmp_path: Path) -> None:
    def drop(weights: dict[str, torch.Tensor]) -> None:
        for name in [name for name in weights if name.endswith("inv_freq")]:
            del weights[name]

    where = _edit_weights(checkpoint(tmp_path / "m"), drop)
    assert load_adapter(str(where)).layers[-1].name == "up.6"


@pytest.mark.parametrize("damage", [b"", b"\x00" * 100, b"not safetensors at all" * 10])
def test_a_damaged_weight_file_is_refused(tmp_path: Path, damage: bytes) -> None:
    where = checkpoint(tmp_path / "m")
    (where / "model.safetensors").write_bytes(damage)
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_adapter(str(where))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"deconv_upsample_type": None}, "deconv_upsample_type missing"),
        ({"deconv_upsample_type": "bilinear"}, "must be 'repeat\\+conv' or 'conv_transpose'"),
        ({"attention_heads": 3}, "must equal embed_dim"),
        ({"num_downsamples": 0}, "num_downsamples must be a positive whole number"),
        ({"embed_dim": "40"}, "embed_dim must be a positive whole number"),
        ({"use_skip_connection": False}, "use_skip_connection=False is not supported"),
        ({"deconv_phase": "even"}, "deconv_phase='even' is not supported"),
        ({"model_type": "bert"}, "model_type 'bert' is not one of"),
        ({"model_type": [1]}, "is not one of"),
        ({"conditions_vocab_size": 5}, "of the wrong kind"),
        ({"conditions_vocab_size": [9], "species_to_token_id": {"a": "x"}}, "ids below 9"),
        ({"conditions_vocab_size": [9], "species_to_token_id": {"a": 99}}, "ids below 9"),
        ({"species_to_token_id": [1]}, "must map names to ids"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps"),
        ({"layer_norm_eps": "x"}, "layer_norm_eps"),
        ({"num_hidden_layers_head": "z"}, "num_hidden_layers_head"),
    ],
)
def test_an_impossible_config_is_refused_with_its_field(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        describe(str(checkpoint(tmp_path / "m", **change)))


@pytest.mark.parametrize("text", ["", "{", "[]", '"config"'])
def test_broken_config_json_is_refused(tmp_path: Path, text: str) -> None:
    where = checkpoint(tmp_path / "m")
    (where / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match="JSON"):
        describe(str(where))


def test_a_directory_without_weights_is_refused(tmp_path: Path) -> None:
    where = checkpoint(tmp_path / "m")
    (where / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        describe(str(where))


@pytest.mark.parametrize("name", ["nowhere", "./nowhere", "owner/model-that-is-not-cached"])
def test_an_unknown_model_says_what_can_be_given(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="directory"):
        describe(name)


def test_an_unknown_layer_lists_those_there_are() -> None:
    with pytest.raises(LayerError, match=r"it has stem, down\.0"):
        describe("ntv3-mini").layer("up.7")


def test_final_is_the_last_up_block() -> None:
    assert describe("ntv3-mini").layer("final").name == "up.6"


def test_the_digest_follows_weights_and_shape_and_nothing_else(tmp_path: Path) -> None:
    plain = describe(str(checkpoint(tmp_path / "a"))).weights
    assert describe(str(checkpoint(tmp_path / "b", transformers_version="5.0"))).weights == plain
    assert describe(str(checkpoint(tmp_path / "c", layer_norm_eps=1e-6))).weights != plain
    changed = _edit_weights(checkpoint(tmp_path / "d"), lambda w: w["core.stem.conv.bias"].add_(1e-6))
    assert describe(str(changed)).weights != plain


def test_replacing_a_weight_file_in_place_changes_the_digest(tmp_path: Path) -> None:
    where = checkpoint(tmp_path / "m")
    before = describe(str(where)).weights
    _edit_weights(where, lambda w: w["core.stem.conv.bias"].add_(1.0))
    assert describe(str(where)).weights != before


def test_the_published_8m_shape_has_the_published_parameter_count() -> None:
    shape = json.loads((GOLDEN / "tinyA_config.json").read_text()) | {
        "attention_heads": 8,
        "conv_init_embed_dim": 256,
        "embed_dim": 256,
        "ffn_embed_dim": 1024,
        "key_size": 32,
        "num_layers": 2,
        "token_embed_dim": 16,
    }
    with torch.device("meta"):
        network = NTv3(NTv3Config.from_json(shape))
    assert sum(parameter.numel() for parameter in network.parameters()) == 7_692_475


def test_layers_name_width_and_resolution_of_every_tap() -> None:
    layers = {layer.name: (layer.width, layer.bases_per_token) for layer in describe("ntv3-mini").layers}
    assert layers["stem"][1] == layers["down.0"][1] == layers["up.6"][1] == 1
    assert layers["down.6"][1] == layers["up.0"][1] == 64
    assert layers["transformer.0"][1] == 128
    assert layers["stem"][0] == layers["up.6"][0]


def test_a_config_field_at_its_default_is_as_good_as_absent(tmp_path: Path) -> None:
    plain = describe(str(checkpoint(tmp_path / "a", num_hidden_layers_head=None))).weights
    assert describe(str(checkpoint(tmp_path / "b", num_hidden_layers_head=0))).weights == plain


@pytest.mark.parametrize("card", ['{"max_bases": "many"}', '{"default_layer": "zzz"}', "{"])
def test_a_bad_card_is_refused_when_the_model_is_described(tmp_path: Path, card: str) -> None:
    where = checkpoint(tmp_path / "m")
    (where / "covpool.json").write_text(card)
    with pytest.raises(CheckpointError, match=r"covpool\.json"):
        describe(str(where))
