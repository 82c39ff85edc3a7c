"""A store of covpool 0.1, with a copy in use and one that was interrupted, goes on after it is migrated."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from covpool.store import FormatVersionError, Store
from covpool.store.commands.group import store as command
from covpool.store.maintenance.compact import compact
from covpool.store.maintenance.gc import collect
from covpool.store.maintenance.rebuild import rebuild
from covpool.store.testing import example_key, example_moments
from tests.store.tools import assert_whole, fill, namespace_of, soon

GOLDEN = Path(__file__).parents[2] / "data" / "golden" / "store_0_1" / "store"
#: As they were put; "a" was put again.
NAMES = list("bcdefghi")


@pytest.fixture
def location(tmp_path: Path) -> Path:
    return shutil.copytree(GOLDEN, tmp_path / "store")


@pytest.fixture
def migrated(location: Path) -> Iterator[Store]:
    ran = CliRunner().invoke(command, ["migrate", "--store", str(location)])
    assert ran.exit_code == 0, ran.output
    with Store.open(location) as store:
        yield store


def assert_as_it_was(store: Store) -> None:
    assert_whole(store, NAMES)
    assert store.get(example_key("a")).mean.tobytes() == example_moments("other").mean.tobytes()
    assert [one.entry.key for one in store.names.find("geneA")] == [example_key("a").digest]


def test_it_is_refused_with_the_remedy_and_read_all_the_same(location: Path) -> None:
    with pytest.raises(FormatVersionError, match="covpool store migrate"):
        Store.open(location)
    with Store.open(location, read_only=True) as store:
        assert_as_it_was(store)


def test_every_key_reads_as_it_did_and_the_store_is_written_to(migrated: Store) -> None:
    assert migrated.outdated is None
    assert_as_it_was(migrated)
    (problem,) = migrated.verify()
    assert "compacted.2: a copy that no entry refers to; run covpool store compact" in problem.message
    fill(migrated, ["new"])
    assert_whole(migrated, ["new"])


def test_the_interrupted_copy_is_completed_and_nothing_is_lost(migrated: Store) -> None:
    done = compact(migrated, namespace_of(migrated), shard_rows=4)
    assert done is not None
    assert (done.generation, done.swapped) == (2, 3)
    for _ in range(2):
        collect(migrated, age=soon())
        assert_as_it_was(migrated)
    assert migrated.verify() == []
    rebuild(migrated)
    assert_as_it_was(migrated)


def test_sweeping_first_costs_the_unfinished_copy_only(migrated: Store) -> None:
    collect(migrated, age=soon())
    assert_as_it_was(migrated)
    done = compact(migrated, namespace_of(migrated), shard_rows=4)
    assert done is not None
    assert done.generation == 3, "a number stands for one copy for ever"
    assert_as_it_was(migrated)
