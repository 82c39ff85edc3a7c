"""Caching in one process: outages are waited for, and who is at fault spoils no other."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from covpool.extractor import Sequence, describe
from covpool.extractor.extraction.workload import Workload
from covpool.service.extraction.caching import cache
from covpool.service.extraction.engine import Engine
from covpool.store import Store
from tests.extractor.golden import checkpoint
from tests.mounts import mounted
from tests.service.running import COVPOOL, environment, wait_until
from tests.service.worker.test_outages import Ballast

COUNT = 40


def sequences(length: int) -> dict[str, str]:
    rng = np.random.default_rng(length)
    return {f"s{number}": "".join(rng.choice(list("ACGT"), length)) for number in range(COUNT)}


def test_covpool_extract_waits_for_a_storage_that_is_full_and_goes_on(tmp_path: Path) -> None:
    fasta, log = tmp_path / "genes.fa", tmp_path / "log"
    fasta.write_text("".join(f">{name}\n{bases}\n" for name, bases in sequences(6000).items()))
    with mounted(tmp_path / "store", "size=8m,nr_inodes=1000"):
        store, ballast = tmp_path / "store", Ballast(tmp_path / "store")
        with log.open("wb") as errors:
            run = subprocess.Popen(
                [COVPOOL, "extract", str(fasta), "--store", str(store)],
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        wait_until(lambda: len(list(store.glob("arrays/*/mean/c.*"))) >= 3, "the run to be under way")
        ballast.take_inodes()
        wait_until(lambda: "paused, goes on by itself" in log.read_text(), "the run to say that it pauses")
        assert "No space left on device" in log.read_text()
        assert run.poll() is None
        ballast.free()
        out, _ = run.communicate(timeout=90)
        assert run.returncode == 0, log.read_text()
        assert len(out.splitlines()) == COUNT
        with Store.open(store) as opened:
            assert (len(opened), opened.verify()) == (COUNT, [])


def test_a_workload_at_fault_is_named_and_the_others_are_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = describe(str(checkpoint(tmp_path / "tiny")))
    workloads = [
        Workload.of(Sequence(name, bases), [model.recipe()]) for name, bases in sequences(100).items()
    ]
    # Its bases are others by the time they are read.
    bad = Workload(
        "bad", "0" * 64, 100, lambda: "ACGT" * 25 + "E", workloads[0].selections, workloads[0].recipes
    )
    with Store.open(tmp_path / "store") as store:
        given = [*workloads[:9], bad, *workloads[9:]]
        found = dict(cache(Engine(store, device="cpu"), model, given))
        assert sorted(found) == list(range(COUNT + 1))
        (fault,) = [fault for fault in found.values() if fault is not None]
        assert str(found[9]) == str(fault)
        assert "bad: bases are not normalised" in str(fault)
        assert len(store) == COUNT


def test_what_is_ready_is_neither_computed_nor_written_again(tmp_path: Path) -> None:
    model = describe(str(checkpoint(tmp_path / "tiny")))
    workloads = [
        Workload.of(Sequence(name, bases), [model.recipe()]) for name, bases in sequences(100).items()
    ]
    with Store.open(tmp_path / "store") as store:
        engine = Engine(store, device="cpu")
        list(cache(engine, model, workloads[:10]))
        before = {entry.key: entry.created for entry in store.catalog.entries()}
        seen: list[int] = []
        list(cache(engine, model, workloads, progress=seen.append))
        after = {entry.key: entry.created for entry in store.catalog.entries()}
    assert (len(before), len(after)) == (10, COUNT)
    assert {key: after[key] for key in before} == before
    assert sum(seen) == sum(workload.tokens(model) for workload in workloads[10:])
