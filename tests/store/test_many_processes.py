"""Several processes on one store, some of them killed: every acknowledged key reads back, none is damaged."""

import random
import subprocess
import sys
from pathlib import Path

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
