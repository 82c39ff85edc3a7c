"""Worker: tasks with several results, in processes that are killed: nothing is lost, nothing done twice."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from covpool.extractor import Model, Selection, Sequence, describe, extract, load_adapter
from covpool.extractor.extraction.workload import Workload
from covpool.service.extraction.engine import Engine
from covpool.service.queue import JobQueue, Request, TaskLeases
from covpool.store import MomentsKey, Store
from tests.extractor.golden import checkpoint
from tests.service.running import wait_until
from tests.service.worker.faulty.sitecustomize import HARMS
from tests.service.worker.test_worker import Bench, working

LAYERS = ("up.1", "up.2")


def selections(bases: str) -> tuple[Selection, ...]:
    third = len(bases) // 3
    spans = {"upstream": (0, third), "CDS": (third, 2 * third), "downstream": (2 * third, len(bases))}
    return Selection.whole(len(bases)), *(Selection(name, (span,)) for name, span in spans.items())


def workload(model: Model, bases: str) -> Workload:
    return Workload.of(Sequence("", bases), [model.recipe(layer) for layer in LAYERS], selections(bases))


def keys(model: Model, bases: str) -> dict[tuple[str, str], MomentsKey]:
    return workload(model, bases).keys(model)


def asking(model: Model, bases: str) -> Request:
    return Request.of(replace(workload(model, bases), name=bases), model)


def submit(queue: JobQueue, model: Model, *texts: str) -> str:
    return queue.submit(model.recipe(LAYERS[0]), [asking(model, bases) for bases in texts])


def genes(count: int, length: int) -> list[str]:
    rng = np.random.default_rng(count)
    return ["".join(rng.choice(list("ACGT"), length + 3 * n)) for n in range(count)]


def created(store: Store) -> dict[str, object]:
    return {entry.key: entry.created for entry in store.catalog.entries()}


def assert_right(store: Store, model: Model, texts: list[str]) -> None:
    """Every result is that of a plain extraction, up to float32 in which it is computed and stored."""
    adapter = load_adapter(str(model.checkpoint.directory), device="cpu")
    for bases in texts:
        expected = extract(adapter, bases, LAYERS, selections=selections(bases))
        for (layer, name), key in keys(model, bases).items():
            wanted, stored = expected[layer][name], store.get(key)
            assert stored.count == wanted.count
            error = np.linalg.norm(stored.second_moment - wanted.second_moment)
            assert error < 1e-5 * np.linalg.norm(wanted.second_moment)


def test_a_task_whose_worker_died_between_two_results_goes_on_with_the_others(
    tmp_path: Path, database_url: str
) -> None:
    model = describe(str(checkpoint(tmp_path / "tiny")))
    (bases,) = genes(1, 90)
    with Store.open(tmp_path / "store", catalog=database_url) as store:
        queue, leases = JobQueue(store.database), TaskLeases(store.database, lease_s=1000)
        job = submit(queue, model, bases)
        assert len(leases.claim("dies")) == 1
        ((_, found),) = Engine(store, device="cpu").moments(model, [workload(model, bases)])
        for key in list(found)[:5]:
            store.put(key, found[key])
        leases.release("dies")
        before = created(store)
        assert (len(before), queue.job(job).state) == (5, "queued")
    with working(tmp_path, database_url) as bench:
        assert bench.end(job) == {bases: ("done", None)}
        after = created(bench.store)
        assert {key: after[key] for key in before} == before
        assert_right(bench.store, model, [bases])
        progress = bench.queue.progress(job)
        assert progress.tokens_done == progress.tokens == asking(model, bases).cost


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with working(tmp_path_factory.mktemp("worker"), lease_s="1") as directory:
        yield directory


def test_what_overflows_or_wants_memory_harms_no_mate(bench: Bench) -> None:
    others, hungry, bad = genes(4, 40), HARMS["memory"], HARMS["overflow"]
    found = bench.end(submit(bench.queue, bench.model, *others[:2], hungry, bad, *others[2:]))
    assert found.pop(bad) == ("failed", "layer up.6 overflowed")
    assert set(found.values()) == {("done", None)}
    assert_right(bench.store, bench.model, others)


def test_a_layer_that_is_there_is_not_computed_again(bench: Bench) -> None:
    (bases,) = genes(1, 77)
    one = MomentsKey(Sequence("", bases).digest, len(bases), bench.model.recipe(LAYERS[1]))
    single = bench.queue.submit(one.recipe, [Request.of_key(bases, one, bases, len(bases))])
    bench.end(single)
    made = created(bench.store)[one.digest]
    assert bench.end(submit(bench.queue, bench.model, bases)) == {bases: ("done", None)}
    assert created(bench.store)[one.digest] == made


def test_a_child_killed_in_the_middle_loses_nothing_and_writes_nothing_twice(bench: Bench) -> None:
    texts = genes(24, 300)
    job = submit(bench.queue, bench.model, *texts)
    there = len(created(bench.store))
    wait_until(lambda: len(created(bench.store)) >= there + 30, "some results to be there")
    bench.child().kill()
    before = created(bench.store)
    assert not bench.queue.progress(job).ended, "it was killed too late to show anything"
    assert set(bench.end(job).values()) == {("done", None)}
    after = created(bench.store)
    assert {key: after[key] for key in before} == before
    assert len(after) == there + len(texts) * len(LAYERS) * 4
    assert_right(bench.store, bench.model, texts)
