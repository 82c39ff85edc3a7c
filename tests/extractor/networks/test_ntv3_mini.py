"""The bundled ntv3-mini is the trained model that its card describes: its activations are pinned."""

import numpy as np
import pytest
import torch

from covpool.extractor import load_adapter, reverse_complement
from covpool.extractor.adapters.ntv3 import NTv3Adapter, token_ids
from covpool.extractor.models.models import describe

#: First 256 bp of the lacZ coding sequence of E. coli K-12.
LACZ = (
    "ATGACCATGATTACGGATTCACTGGCCGTCGTTTTACAACGTCGTGACTGGGAAAACCCTGGCG"
    "TTACCCAACTTAATCGCCTTGCAGCACATCCCCCTTTCGCCAGCTGGCGTAATAGCGAAGAGGC"
    "CCGCACCGATCGCCCTTCCCAACAGTTGCGCAGCCTGAATGGCGAATGGCGCTTTGCCTGGTTT"
    "CCGGCACCAGAAGCGGTGCCGGAAAGCTGGCTGGAGTGCGATCTTCCTGAGGCCGATACTGTCG"
)
#: Channels 0 … 3 at the middle token, float64 compute from the stored bfloat16 weights.
PINNED: dict[str, list[float]] = {
    "stem": [-6.019313510164833e-10, -3.8841830640314646e-13, -0.0, -0.1452116869766652],
    "down.4": [2.250333691740712, 7.910555449106561, -0.027719979826857935, -0.010759662711209504],
    "transformer.2": [57.53614965363694, -1411.173865068941, 817.2728303997842, -484.40914025198884],
    "up.3": [4.647400861299275, 3.39081852961512, 4.482914084132262, 11.277743749302553],
    "up.6": [-0.05896680838633721, -0.19164957155746737, -1.6031179174274443e-05, -0.17074166608177263],
}
TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def adapter() -> NTv3Adapter:
    """The shipped model in float64."""
    computed = load_adapter("ntv3-mini", device="cpu", dtype="float64")
    assert isinstance(computed, NTv3Adapter)
    return computed


def test_shipped_activations_are_pinned(adapter: NTv3Adapter) -> None:
    for block in adapter.activations(LACZ, layers=tuple(PINNED)):
        middle = block.values[len(block.values) // 2, :4]
        assert middle.tolist() == pytest.approx(PINNED[block.layer], rel=TOLERANCE, abs=TOLERANCE), (
            block.layer
        )


def test_the_shipped_model_says_that_it_is_trained() -> None:
    model = describe("ntv3-mini")
    assert model.trained
    assert model.layer().name == model.default_layer
    assert model.checkpoint.weights[0].stat().st_size <= 6_000_000
    assert (model.checkpoint.directory / "README.md").is_file()


@pytest.mark.parametrize("bases", [LACZ, reverse_complement(LACZ)], ids=["sense", "antisense"])
def test_hidden_bases_are_predicted_better_than_by_chance(adapter: NTv3Adapter, bases: str) -> None:
    ids = token_ids(bases, 128).long()
    bits = []
    for offset in range(8):
        seen = ids.clone()
        seen[offset::8] = 2
        with torch.inference_mode():
            logits = adapter.network(seen[None])[0, offset::8, 6:10]
        wanted = ids[offset::8] - 6
        bits += (-torch.log_softmax(logits, 1)[range(len(wanted)), wanted] / np.log(2)).tolist()
    assert np.mean(bits) < 1.95
