"""Evo 2 through the same doors as every model: any length, any schedule, any batch, never a partial sum.

Float64, 1e-12 relative Frobenius unless stated.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch.nn import functional as F

from covpool.extractor import (
    CapacityError,
    ConditionError,
    ExtractionError,
    Options,
    SequenceError,
    extract,
    extract_many,
    load_adapter,
    normalise,
    reverse_complement,
)
from covpool.extractor.adapters import evo2 as evo2_adapter
from covpool.extractor.adapters.evo2 import Evo2Adapter, token_ids
from covpool.extractor.adapters.evo2_check import check, read_prompts
from covpool.extractor.commands.models import models
from covpool.extractor.networks.evo2.plan import ORDERS, Order, Schedule, Work, estimate
from covpool.extractor.networks.evo2.published import PUBLISHED
from covpool.extractor.networks.evo2.schedules import run
from covpool.store.values.moments import Moments
from tests.extractor.golden_evo2 import activations, checkpoint, network, relative_error, tensors

EXACT = 1e-12
LAYERS = ["blocks.2.mlp.l3", "blocks.5", "norm"]
RNG = np.random.default_rng(0)
BASES = "".join(RNG.choice(list("ACGTN"), 700))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(checkpoint(tmp_path_factory.mktemp("evo2") / "tiny"))


@pytest.fixture
def adapter(directory: str) -> Evo2Adapter:
    found = load_adapter(directory, device="cpu", dtype="float64")
    assert isinstance(found, Evo2Adapter)
    found.piece = 100
    return found


@pytest.fixture(scope="module")
def expected(directory: str) -> dict[str, Moments]:
    """Of `BASES` in one piece."""
    found = load_adapter(directory, device="cpu", dtype="float64")
    return extract(found, BASES, LAYERS)


def _same(found: dict[str, Moments], expected: dict[str, Moments]) -> None:
    assert found.keys() == expected.keys()
    for layer, one in expected.items():
        assert found[layer].count == one.count
        error = np.linalg.norm(found[layer].second_moment - one.second_moment)
        assert error < EXACT * np.linalg.norm(one.second_moment), layer
        assert np.linalg.norm(found[layer].mean - one.mean) < EXACT * np.linalg.norm(one.mean), layer


def test_moments_are_those_of_the_networks_activations(adapter: Evo2Adapter) -> None:
    ids = token_ids(BASES, len(BASES))[None]
    x = activations(network(torch.float64), ids, frozenset(["blocks.5"]))["blocks.5"][0].numpy()
    found = extract(adapter, BASES, ["blocks.5"])["blocks.5"]
    assert found.count == len(BASES)
    assert np.linalg.norm(found.second_moment - x.T @ x / len(x)) < EXACT * np.linalg.norm(x.T @ x / len(x))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("piece", [64, 333, 1000])
def test_both_schedules_give_the_same_moments(
    adapter: Evo2Adapter, expected: dict[str, Moments], order: Order, piece: int
) -> None:
    adapter.order, adapter.piece = order, piece
    _same(extract(adapter, BASES, LAYERS), expected)


def test_streamed_weights_come_block_by_block_and_rest_unchanged(
    adapter: Evo2Adapter, expected: dict[str, Moments], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_rest = {name: tensor.data_ptr() for name, tensor in adapter.network.blocks.named_parameters()}
    monkeypatch.setattr(Evo2Adapter, "streamed", property(lambda _: True))
    assert {schedule.order for schedule in adapter.schedules(1, 700, frozenset(LAYERS))} == {"layer-major"}
    _same(extract(adapter, BASES, LAYERS), expected)
    assert {name: t.data_ptr() for name, t in adapter.network.blocks.named_parameters()} == at_rest
    adapter.order = "piece-major"
    with pytest.raises(CapacityError, match="piece-major does not go with streamed weights"):
        extract(adapter, BASES, LAYERS)


def test_the_schedule_follows_length_depth_and_memory(adapter: Evo2Adapter) -> None:
    def chosen(tokens: int, layer: str, memory: int) -> str:
        adapter.memory = memory
        return adapter.schedules(1, tokens, frozenset([layer]))[0].order

    config = adapter.network.config
    short = estimate(Work(config, 1000, ("norm",), itemsize=8), Schedule("piece-major", 100)).beside_weights
    assert chosen(1000, "norm", 2 * short) == "piece-major"
    assert chosen(1_000_000, "norm", 2 * short) == "layer-major"
    # Keys and values of two attention layers, against one and the residual stream: 4, 2 + 1 per token.
    per_token = 8 * config.hidden_size
    assert chosen(1_000_000, "norm", 4 * 10**6 * per_token) == "layer-major"
    assert chosen(1_000_000, "norm", 6 * 10**6 * per_token) == "piece-major"
    # Up to block 7 there is only one attention layer.
    assert chosen(1_000_000, "blocks.7", 4 * 10**6 * per_token) == "piece-major"


@pytest.mark.parametrize("strand", ["-", "both"])
def test_strands_are_reverse_complements_and_add_up(adapter: Evo2Adapter, strand: Any) -> None:
    found = extract(adapter, BASES, LAYERS, strand=strand, skip_tokens=15)
    forward = extract(adapter, BASES, LAYERS, skip_tokens=15)
    reverse = extract(adapter, reverse_complement(BASES), LAYERS, skip_tokens=15)
    both = {layer: forward[layer].merge(reverse[layer]) for layer in LAYERS}
    _same(found, reverse if strand == "-" else both)
    assert found["norm"].count == (700 - 15) * (2 if strand == "both" else 1)
    recipes = {
        adapter.recipe("norm", Options(strand=one, skip_tokens=skip)).digest
        for one in ("+", "-", "both")
        for skip in (0, 15)
    }
    assert len(recipes) == 6


@pytest.mark.parametrize("budget", [50, 400, 5000])
def test_many_ragged_sequences_equal_one_by_one(adapter: Evo2Adapter, budget: int) -> None:
    lengths = [1, 2, 3, 127, 128, 129, 130, 300, 301]
    sequences = [normalise("".join(RNG.choice(list("ACGTN"), length)), f"s{length}") for length in lengths]
    adapter.piece = 1000
    alone = [extract(adapter, sequence, LAYERS) for sequence in sequences]
    adapter.piece = budget
    together = dict(extract_many(adapter, sequences, LAYERS))
    assert sorted(together) == list(range(len(sequences)))
    for index, one in enumerate(alone):
        _same(together[index], one)


def test_a_context_beyond_the_checkpoints_needs_an_option_that_the_recipe_records(tmp_path: Path) -> None:
    adapter = load_adapter(str(checkpoint(tmp_path / "m", max_seqlen=500)), dtype="float64")
    assert adapter.model.max_bases == 500
    with pytest.raises(SequenceError, match=r"700 bp are more than the 500 .* beyond_context"):
        extract(adapter, BASES, ["blocks.0"])
    assert extract(adapter, BASES, ["blocks.0"], beyond_context=True)["blocks.0"].count == 700
    assert "beyond" in adapter.recipe("blocks.0", Options(beyond_context=True)).context


def test_foreign_characters_and_species_are_refused(adapter: Evo2Adapter) -> None:
    with pytest.raises(SequenceError, match="position 5"):
        extract(adapter, "ACGT|D__BACTERIA", LAYERS)
    with pytest.raises(ConditionError, match="takes no species"):
        extract(adapter, "ACGT", LAYERS, condition="human")


class _Memory:
    """A device whose memory ends in the middle of a sequence, under the schedules named."""

    def __init__(self, ends: set[Order], error: Exception) -> None:
        self.ends, self.error, self.ran = ends, error, list[str]()

    def __call__(self, net: Any, ids: Any, names: Any, schedule: Schedule) -> Iterator[Any]:
        self.ran.append(schedule.order)
        for count, stage in enumerate(run(net, ids, names, schedule)):
            if schedule.order in self.ends and count == 5:
                raise self.error
            yield stage


CPU_ERROR = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
    "allocate 4096 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.mark.parametrize("error", [CPU_ERROR, torch.OutOfMemoryError("CUDA out of memory."), MemoryError()])
def test_when_memory_ends_the_other_schedule_takes_over_without_a_token_lost_or_doubled(
    adapter: Evo2Adapter,
    expected: dict[str, Moments],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    memory = _Memory({"piece-major"}, error)
    monkeypatch.setattr(evo2_adapter, "run", memory)
    _same(extract(adapter, BASES, LAYERS), expected)
    assert memory.ran == ["piece-major", "layer-major"]


@pytest.mark.parametrize("order", [None, *ORDERS])
def test_when_memory_ends_for_good_nothing_is_returned(
    adapter: Evo2Adapter, monkeypatch: pytest.MonkeyPatch, order: Order | None
) -> None:
    memory = _Memory(set(ORDERS), CPU_ERROR)
    monkeypatch.setattr(evo2_adapter, "run", memory)
    adapter.order = order
    with pytest.raises(CapacityError, match=r"700 tokens do not fit .* GiB are free"):
        extract(adapter, BASES, LAYERS)
    assert memory.ran == ([order] if order else list(ORDERS))


def test_any_other_error_is_not_mistaken_for_the_end_of_memory(
    adapter: Evo2Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evo2_adapter, "run", _Memory(set(ORDERS), RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        extract(adapter, BASES, LAYERS)


_STARVED = """
import resource, sys
from covpool.extractor import CapacityError, extract, load_adapter
adapter = load_adapter(sys.argv[1], device="cpu", dtype="float64")
extract(adapter, "ACGT" * 25, ["norm"])
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 2**28, -1))
try:
    extract(adapter, "ACGT" * 500_000, ["norm"], beyond_context=True)
except CapacityError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits address space")
def test_a_process_that_truly_runs_out_of_memory_says_so(directory: str) -> None:
    found = subprocess.run(
        [sys.executable, "-c", _STARVED, directory],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "2,000,000 tokens do not fit into memory" in found.stdout, found.stderr
    assert "layer-major takes about" in found.stdout


@pytest.mark.parametrize("order", ORDERS)
def test_the_loss_of_the_check_is_that_of_the_logits(
    adapter: Evo2Adapter, tmp_path: Path, order: Order
) -> None:
    adapter.order, adapter.piece = order, 50
    texts = [BASES[:230], BASES[300:351], "|D__BACTERIA;acgt|"]
    losses = []
    for text in texts:
        ids = token_ids(text, len(text))[None]
        logits = activations(network(torch.float64), ids, frozenset(["unembed"]))["unembed"][0]
        losses.append(float(F.cross_entropy(logits[:-1], ids[0, 1:].long())))
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("Sequence,Source\n" + "".join(f'"{text}",x\n' for text in texts) + "\n")
    assert read_prompts(prompts) == texts
    found = check(adapter, prompts)
    # The logits are compared in float32.
    (row,) = found.rows
    assert row["loss"] == pytest.approx(np.mean(losses), rel=1e-6)
    assert (row["sequences"], row["expected"], found.passed) == (3, None, None)


def test_a_check_without_prompts_says_where_they_come_from(adapter: Evo2Adapter, tmp_path: Path) -> None:
    with pytest.raises(ExtractionError, match=r"needs prompts\.csv of the evo2 package"):
        check(adapter)
    (tmp_path / "empty.csv").write_text("Sequence\n")
    with pytest.raises(ExtractionError, match="no sequences below the header"):
        check(adapter, tmp_path / "empty.csv")


def test_a_check_that_misses_the_published_loss_fails(tmp_path: Path) -> None:
    where = checkpoint(tmp_path / "evo2_7b")
    prompts = tmp_path / "prompts.csv"
    prompts.write_text(f"Sequence\n{BASES}\n")
    found = CliRunner().invoke(models, ["--check", str(where), "--prompts", str(prompts), "--device", "cpu"])
    assert isinstance(found.exception, ExtractionError)
    assert "expected 0.3477 ± 0.001" in found.output


def test_the_plan_of_7b_at_a_megabase_is_the_published_arithmetic() -> None:
    found = CliRunner().invoke(
        models, ["--plan", "evo2_7b", "--length", "1048576", "--layer", "norm", "--json"]
    )
    rows = {
        (row["schedule"], row["host_residual"], row["streamed_weights"]): row
        for row in map(json.loads, found.output.splitlines())
    }
    gib = 2**30
    whole, layers = rows["piece-major", False, False], rows["layer-major", False, False]
    assert whole["cache"] == 80 * gib
    assert layers["cache"] == 16 * gib
    assert layers["residual"] == 8 * gib
    assert layers["weights"] / gib == pytest.approx(12.3, abs=0.05)
    assert whole["matmul_flops"] / 1e15 == pytest.approx(14, abs=0.5)
    assert whole["attention_flops"] / 1e15 == pytest.approx(45, abs=0.5)
    assert layers["device"] < 80 * gib
    assert rows["layer-major", True, False]["device"] == layers["device"] - 8 * gib
    assert rows["layer-major", False, True]["host"] > 0


def test_a_plan_reads_a_checkpoints_own_configuration(directory: str) -> None:
    found = CliRunner().invoke(models, ["--plan", directory, "--length", "100000"])
    assert found.exit_code == 0
    assert "100,000 tokens up to blocks.7" in found.output
    assert CliRunner().invoke(models, ["--plan", "ntv3-mini"]).exit_code == 2
    assert "evo2_40b" in CliRunner().invoke(models, ["--plan", "evo3"]).output
    assert CliRunner().invoke(models, ["--plan", "evo2_7b", "--layer", "blocks.77"]).exit_code == 2


def test_attention_depth_decides_the_planned_cache() -> None:
    config = PUBLISHED["evo2_7b"].config

    def cache(layer: str) -> float:
        return estimate(Work(config, 2**20, (layer,)), Schedule("piece-major", 8192)).cache / 2**30

    assert [cache(layer) for layer in ("blocks.2", "blocks.24", "blocks.30", "norm")] == [0, 64, 64, 80]


@torch.inference_mode()
def test_bfloat16_moments_are_close_to_float64(directory: str, expected: dict[str, Moments]) -> None:
    found = extract(load_adapter(directory, device="cpu", dtype="bfloat16"), BASES, LAYERS)
    for layer, one in expected.items():
        error = np.linalg.norm(found[layer].second_moment - one.second_moment)
        # The tiny network amplifies bfloat16's rounding to 3.5e-2 of its activations; moments average it.
        assert 0 < error < 0.05 * np.linalg.norm(one.second_moment)


@pytest.mark.gpu
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_gpu_gives_the_float64_moments_of_the_cpu(
    directory: str, expected: dict[str, Moments], order: Order, streamed: bool
) -> None:
    adapter = load_adapter(directory, device="cuda", dtype="float64")
    assert isinstance(adapter, Evo2Adapter)
    adapter.piece, adapter.order = 100, None if streamed else order
    if streamed:
        adapter.network.cast(adapter.device, adapter.dtype, blocks=torch.device("cpu"))
    adapter.host_residual = True if order == "layer-major" else None
    found = extract(adapter, BASES, LAYERS)
    for layer, one in expected.items():
        error = relative_error(*(torch.from_numpy(m.second_moment) for m in (found[layer], one)))
        assert error < 1e-10, layer


def test_golden_second_moments_survive_the_whole_path(directory: str) -> None:
    golden = tensors("long32768_second_moment")
    bases = bytes(golden["input_ids"][0, :3000].tolist()).decode().upper()
    adapter = load_adapter(directory, device="cpu", dtype="float32")
    ids = token_ids(bases, 3000)[None]
    x = activations(network(torch.float64), ids, frozenset(["blocks.5"]))["blocks.5"][0]
    found = extract(adapter, bases, ["blocks.5"])["blocks.5"].second_moment
    assert relative_error(torch.from_numpy(found), x.T @ x / 3000) < 2e-6
