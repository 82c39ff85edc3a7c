"""Several processes on one store, some of them killed: every acknowledged key reads back, none is damaged."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from covpool.store import Store
from covpool.store.testing import example_key, example_moments

#: Puts the named keys one by one and acknowledges each on standard output.
WRITER = """
import sys
from covpool.store import Store
from covpool.store.testing import example_key, example_moments
directory, catalog, *names = sys.argv[1:]
print("imported", flush=True)
sys.stdin.readline()
with Store.open(directory, catalog=catalog or None) as store:
    for name in names:
        store.put(example_key(name), example_moments(name, 64))
        print(name, flush=True)
"""


def writer(location: str | Path, names: list[str], catalog: str = "") -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(location), catalog, *names],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def go(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "imported\n"
    process.stdin.write("\n")
    process.stdin.flush()


def assert_all_read_back(store: Store, names: set[str]) -> None:
    for name in names:
        found, expected = store.get(example_key(name)), example_moments(name, 64)
        assert found.mean.tobytes() == expected.mean.tobytes()
        assert found.second_moment.tobytes() == expected.second_moment.tobytes()


def test_processes_writing_overlapping_keys_of_a_new_store_lose_none(
    tmp_path: Path, database_url: str
) -> None:
    names = [f"gene{i}" for i in range(40)]
    shuffled = [random.Random(seed).sample(names, 30) for seed in range(8)]
    writers = [writer(tmp_path, chosen, database_url) for chosen in shuffled]
    for process in writers:
        go(process)
    for process, chosen in zip(writers, shuffled, strict=True):
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert out.split() == chosen
    with Store.open(tmp_path, catalog=database_url) as store:
        assert_all_read_back(store, set().union(*shuffled))
        assert store.verify() == []
        entries = store.catalog.entries()
        assert len({entry.row for entry in entries}) == len(entries) == len(set().union(*shuffled))
        assert len({entry.namespace.id for entry in entries}) == 1


@pytest.mark.slow
def test_what_a_killed_writer_acknowledged_reads_back_and_nothing_is_damaged(tmp_path: Path) -> None:
    """A writer is killed (SIGKILL) at ten random moments, the next one goes on in the same store."""
    names = [f"gene{i}" for i in range(400)]
    chance = random.Random(20261121)
    acknowledged: set[str] = set()
    # Keys come again in another order, so that rows are also killed while they are rewritten.
    writers = [writer(tmp_path, chance.sample(names, 200)) for _ in range(10)]
    for kill, process in enumerate(writers):
        with process:
            go(process)
            assert process.stdout is not None
            first = process.stdout.readline() if kill > 2 else ""
            time.sleep(chance.uniform(0.0, 0.3))
            process.kill()
            out = first + process.stdout.read()
        assert process.returncode == -9, "it had finished before it was killed"
        # A line that the kill cut short was not acknowledged.
        acknowledged.update(line.strip() for line in out.splitlines(keepends=True) if line.endswith("\n"))
        with Store.open(tmp_path) as store:
            assert store.verify() == []
            assert all(example_key(name) in store for name in acknowledged)
    assert len(acknowledged) > 20
    with Store.open(tmp_path) as store:
        for name in names[:20]:
            store.put(example_key(name), example_moments(name, 64))
        assert_all_read_back(store, acknowledged | set(names[:20]))
        rows = [entry.row for entry in store.catalog.entries()]
        assert len(set(rows)) == len(rows)
