"""An Evo 2 checkpoint directory is served, and extracted from the command line, like any other model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner
from safetensors.torch import save_file

from covpool.clients import Client
from covpool.extractor import Options, describe, extract, load_adapter, normalise
from covpool.extractor.networks.evo2.config import Evo2Config
from covpool.service.commands.extract import extract as extract_command
from covpool.store import MomentsKey, Store
from tests.extractor.golden_evo2 import config
from tests.extractor.random_evo2 import random_weights
from tests.service.running import running_service

BASES = {
    name: "".join(np.random.default_rng(seed).choice(list("ACGT"), length))
    for seed, (name, length) in enumerate({"short": 40, "middle": 900, "long": 2500}.items())
}
LAYERS = ("blocks.7", "blocks.2.mlp.l3")
BOTH = Options(strand="both")


def _same(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    """Both are float32 forwards; the cache rounds to float32 on top."""
    assert np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(expected)


def test_an_evo2_checkpoint_is_served_and_extracted_like_any_model(tmp_path: Path) -> None:
    checkpoint = tmp_path / "tiny-evo2"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text(json.dumps(config()))
    save_file(random_weights(Evo2Config.from_mapping(config()), seed=3), checkpoint / "model.safetensors")
    fasta = tmp_path / "genes.fa"
    fasta.write_text("".join(f">{name}\n{bases}\n" for name, bases in BASES.items()))
    adapter = load_adapter(str(checkpoint), device="cpu", dtype="float32")
    expected = {name: extract(adapter, bases, LAYERS, strand="both") for name, bases in BASES.items()}

    asked = ["--model", str(checkpoint), "--strand", "both", "--device", "cpu", "--layer", LAYERS[1]]
    command = [str(fasta), "--store", str(tmp_path / "moments"), *asked]
    assert CliRunner().invoke(extract_command, command).exit_code == 0
    model = describe(str(checkpoint))

    def key(name: str, layer: str) -> MomentsKey:
        recipe = model.recipe(layer, BOTH, dtype="float32")
        return MomentsKey(normalise(BASES[name]).digest, len(BASES[name]), recipe)

    with Store.open(str(tmp_path / "moments")) as store:
        for name, moments in expected.items():
            found = store.get(key(name, LAYERS[1]))
            assert found.count == moments[LAYERS[1]].count == 2 * len(BASES[name])
            _same(found.second_moment, moments[LAYERS[1]].second_moment)

    settings = {"models": json.dumps([str(checkpoint)]), "device": "cpu"}
    with running_service(tmp_path, **settings) as service, Client(service.url) as client:
        client.wait(client.submit(fasta, model="tiny-evo2", layer=LAYERS[0], strand="both"))
        for name, moments in expected.items():
            served = client.moments(key(name, LAYERS[0]).digest)
            _same(served.second_moment, moments[LAYERS[0]].second_moment)
