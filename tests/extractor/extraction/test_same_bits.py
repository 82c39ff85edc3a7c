"""The bits of a result follow from sequence, model and machine: not from company, threads, load or memory."""

import threading
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch

from covpool.extractor import Options, Selection, Sequence, extract, extract_many, load_adapter
from covpool.extractor.adapters.adapter import Adapter
from covpool.extractor.adapters.devices import memory_share
from covpool.extractor.extraction.threads import compute_threads
from covpool.store import Moments
from tests.extractor.golden_evo2 import checkpoint

LENGTHS = (1, 129, 300, 301, 3000, 18_000)
OPTIONS = Options(strand="-")


@pytest.fixture(scope="module", params=["ntv3", "evo2"])
def adapter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    evo2 = request.param == "evo2"
    name = str(checkpoint(tmp_path_factory.mktemp("evo2") / "tiny")) if evo2 else "ntv3-mini"
    return load_adapter(name, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def sequences() -> list[Sequence]:
    rng = np.random.default_rng(0)
    return [Sequence(f"s{length}", "".join(rng.choice(list("ACGT"), length))) for length in LENGTHS]


@pytest.fixture(scope="module")
def alone(adapter: Adapter, sequences: list[Sequence]) -> list[bytes]:
    layer = adapter.model.default_layer
    return [bits(extract(adapter, one, [layer], strand="-")[layer]) for one in sequences]


@pytest.fixture(params=[2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    assert torch.get_num_threads() == request.param
    torch.set_num_threads(before)


def bits(moments: Moments) -> bytes:
    return moments.mean.tobytes() + moments.second_moment.tobytes()


def test_company_and_the_threads_of_the_process_change_no_bit(
    adapter: Adapter, sequences: list[Sequence], alone: list[bytes], threads: int
) -> None:
    layer = adapter.model.default_layer
    for chosen in (range(len(sequences)), range(1, len(sequences), threads)):
        given = [sequences[index] for index in chosen]
        mates = [Sequence("mate", one.bases[::-1]) for one in given[:-1]]
        found = dict(extract_many(adapter, [*mates, *given], [layer], OPTIONS))
        assert [bits(found[len(mates) + at][layer]) for at in range(len(given))] == [
            alone[index] for index in chosen
        ]


def test_other_layers_and_classes_in_the_same_forward_change_no_bit(
    adapter: Adapter, sequences: list[Sequence], alone: list[bytes]
) -> None:
    layer, first = adapter.model.default_layer, adapter.layers[0].name
    for one, expected in zip(sequences, alone, strict=True):
        classes = [Selection("part", ((0, 1 + len(one) // 3),)), Selection.whole(len(one))]
        found = extract(adapter, one, [first, layer], strand="-", selections=classes)
        assert bits(found[layer]["whole"]) == expected


def test_a_layer_has_the_same_bits_alone_and_beside_deeper_ones_in_several_tiles(adapter: Adapter) -> None:
    """Tiles of 16 kb: what one of them spans must not follow from the layers that are wanted."""
    bases = "".join(np.random.default_rng(0).choice(list("ACGT"), 70_000 if adapter.part else 2000))
    names = [adapter.layers[index].name for index in (0, 1, -5, -1)]
    together = extract(adapter, bases, names)
    for name in names:
        assert bits(extract(adapter, bases, [name])[name]) == bits(together[name]), name


def test_free_memory_changes_no_bit(
    adapter: Adapter, sequences: list[Sequence], alone: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, budget = adapter.model.default_layer, adapter.budget
    memory = psutil.virtual_memory()
    little = SimpleNamespace(total=memory.total, available=200 << 20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: little)
    assert adapter.budget == budget
    found = dict(extract_many(adapter, sequences, [layer], OPTIONS))
    assert [bits(found[index][layer]) for index in range(len(sequences))] == alone


def test_smaller_pieces_are_taken_only_where_memory_ran_out_before(adapter: Adapter) -> None:
    budget = adapter.budget
    with memory_share(0.5):
        assert adapter.budget == budget // 2
    assert adapter.budget == budget == 1 << budget.bit_length() - 1


def test_other_work_of_the_process_changes_no_bit(
    adapter: Adapter, sequences: list[Sequence], alone: list[bytes]
) -> None:
    over = threading.Event()

    def work() -> None:
        matrix = torch.ones(300, 300)
        while not over.is_set():
            matrix = matrix @ matrix / 300

    busy = [threading.Thread(target=work) for _ in range(2)]
    for one in busy:
        one.start()
    try:
        layer = adapter.model.default_layer
        found = [bits(extract(adapter, one, [layer], strand="-")[layer]) for one in sequences]
    finally:
        over.set()
        for one in busy:
            one.join()
    assert found == alone


def test_more_threads_are_taken_when_asked(adapter: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = adapter.batch

    def batch(*arguments: object, **named: object) -> object:
        seen.append(torch.get_num_threads())
        return real(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(adapter, "batch", batch)
    layer = adapter.model.default_layer
    before = torch.get_num_threads()
    extract(adapter, "ACGT", [layer])
    with compute_threads(2):
        extract(adapter, "ACGT", [layer])
    extract(adapter, "ACGT", [layer])
    assert (seen, torch.get_num_threads()) == ([1, 2, 1], before)
    with pytest.raises(ValueError, match="at least 1"), compute_threads(0):
        pass
