"""Compute dtypes: each is part of the recipe, and the narrow one keeps norms, softmax and sums wide."""

from pathlib import Path

import numpy as np
import pytest
import torch

from covpool.extractor import ExtractionError, extract, load_adapter
from covpool.extractor.adapters.ntv3 import NTv3Adapter
from covpool.extractor.networks.ntv3.network import AdaptiveNorm
from tests.extractor.golden import checkpoint

BASES = "ACGTTGCAAGCTNNGATTACA" * 150

#: bfloat16 has eight bits of mantissa: 2^-9 per rounding, a few dozen roundings deep.
BFLOAT16_TOLERANCE = 0.03


@pytest.fixture
def directory(tmp_path: Path) -> str:
    return str(checkpoint(tmp_path / "tiny"))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("layer", ["stem", "transformer.2", "up.6"])
def test_bfloat16_moments_are_close_to_float64(directory: str, layer: str, device: str) -> None:
    exact = extract(load_adapter(directory, device="cpu", dtype="float64"), BASES, [layer])[layer]
    computed = extract(load_adapter(directory, device=device, dtype="bfloat16"), BASES, [layer])[layer]
    error = np.linalg.norm(computed.second_moment - exact.second_moment)
    assert 0 < error < BFLOAT16_TOLERANCE * np.linalg.norm(exact.second_moment)


@pytest.mark.gpu
@pytest.mark.parametrize("layer", ["stem", "transformer.2", "up.6"])
def test_a_gpu_gives_the_float64_moments_of_the_cpu(directory: str, layer: str) -> None:
    cpu, gpu = (
        extract(load_adapter(directory, device=device, dtype="float64"), BASES, [layer])[layer].second_moment
        for device in ("cpu", "cuda")
    )
    assert np.linalg.norm(gpu - cpu) < 1e-10 * np.linalg.norm(cpu)


def test_norms_stay_float32_under_bfloat16(directory: str) -> None:
    adapter = load_adapter(directory, device="cpu", dtype="bfloat16")
    assert isinstance(adapter, NTv3Adapter)
    assert adapter.dtype == torch.bfloat16
    norms = [m for m in adapter.network.modules() if isinstance(m, AdaptiveNorm)]
    assert len(norms) == 2 * (7 + 3 + 7)
    assert {p.dtype for norm in norms for p in norm.parameters()} == {torch.float32}


def test_a_conditioned_model_runs_in_bfloat16(tmp_path: Path) -> None:
    where = str(checkpoint(tmp_path / "post", "P"))
    exact, computed = (
        extract(load_adapter(where, device="cpu", dtype=dtype), BASES, ["up.2"], condition="mouse")["up.2"]
        for dtype in ("float64", "bfloat16")
    )
    error = np.linalg.norm(computed.second_moment - exact.second_moment)
    assert error < BFLOAT16_TOLERANCE * np.linalg.norm(exact.second_moment)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_the_recipe_of_an_adapter_names_the_dtype_that_ran(directory: str, dtype: str) -> None:
    adapter = load_adapter(directory, device="cpu", dtype=dtype)
    assert adapter.recipe("up.6").dtype == dtype
    assert adapter.recipe("up.6") == adapter.model.recipe("up.6", dtype=dtype)


def test_a_dtype_may_be_torchs_own(directory: str) -> None:
    assert load_adapter(directory, dtype=torch.float64).dtype == torch.float64


def test_the_dtype_is_part_of_the_recipe(directory: str) -> None:
    model = load_adapter(directory).model
    digests = {model.recipe(dtype=dtype).digest for dtype in ("float32", "float64", "bfloat16")}
    assert len(digests) == 3


@pytest.mark.parametrize(("dtype", "device"), [("float16", "cpu"), ("float32", "nowhere")])
def test_what_cannot_be_had_is_refused(directory: str, dtype: str, device: str) -> None:
    with pytest.raises(ExtractionError, match=r"float16|nowhere"):
        load_adapter(directory, device=device, dtype=dtype)
