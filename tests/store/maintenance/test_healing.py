"""Damage heals: a damaged row gives way to a whole one of its key, or the key is free to be put again."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from covpool.store import CorruptEntryError, KeyNotFoundError, StorageError, Store
from covpool.store.arrays.schema import generation_path
from covpool.store.commands.group import store as command
from covpool.store.errors import OutdatedCatalogError
from covpool.store.maintenance.compact import compact
from covpool.store.maintenance.gc import collect
from covpool.store.maintenance.healing import heal
from covpool.store.maintenance.rebuild import rebuild
from covpool.store.maintenance.verify import scrub, verify_entries
from covpool.store.standing import STORE_FILE
from covpool.store.testing import example_key, example_moments
from tests.store.tools import NAMES, assert_whole, backup_of, fill, namespace_of, restore, soon

CHUNKS = {"second_moment": "c.{}.0.0", "mean": "c.{}.0", "record": "c.{}.0"}
KEY = example_key("b").digest


@pytest.fixture
def opened(tmp_path: Path, database_url: str) -> Iterator[Store]:
    with Store.open(tmp_path / "store", catalog=database_url) as store:
        fill(store, NAMES)
        yield store


def chunk(store: Store, array: str, row: int, part: str = "*") -> Path:
    (found,) = (Path(store.where) / "arrays").glob(f"{part}/{array}/{CHUNKS[array].format(row)}")
    return found


def flip(path: Path) -> None:
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 1
    path.write_bytes(held)


@pytest.mark.parametrize("array", CHUNKS)
@pytest.mark.parametrize("how", [flip, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_damaged_row_is_retired_and_its_key_can_be_put_again(
    opened: Store, array: str, how: object
) -> None:
    how(chunk(opened, array, 1))  # type: ignore[operator]
    healing = heal(opened, KEY)
    assert healing.damaged is not None
    assert healing.damaged.row == 1
    assert healing.current is None
    with pytest.raises(KeyNotFoundError):
        opened.get(KEY)
    assert heal(opened, KEY).damaged is None, "nothing is left to heal"
    fill(opened, ["b"])
    assert_whole(opened, NAMES)
    collect(opened, age=soon())
    assert opened.verify() == []


def test_a_whole_row_is_left_alone(opened: Store) -> None:
    entry = opened.entry(KEY)
    assert heal(opened, KEY).current == entry.place
    assert opened.entry(KEY) == entry


def test_the_source_of_a_damaged_copy_is_read_again(opened: Store) -> None:
    compact(opened, namespace_of(opened), shard_rows=4)
    for array in CHUNKS:
        flip(chunk(opened, array, 0, "*/compacted.1"))
    lost = []
    for name in NAMES:
        try:
            opened.get(example_key(name))
        except CorruptEntryError:
            lost.append(name)
            healing = heal(opened, example_key(name).digest)
            assert healing.current is not None
            assert healing.current.generation == 0
    assert lost
    assert_whole(opened, NAMES)


def test_what_the_last_row_takes_with_it_happens_in_the_same_step(opened: Store) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("not now")

    chunk(opened, "mean", 1).unlink()
    with pytest.raises(RuntimeError):
        heal(opened, KEY, on_commit=refuse)
    assert KEY in opened, "neither or both"


def test_arrays_that_are_not_there_are_not_damaged(opened: Store) -> None:
    where = Path(opened.where)
    # As a mount that is gone shows it: an empty folder, under a catalog that is open.
    aside = where.with_name("aside")
    (aside).mkdir()
    for name in ("arrays", STORE_FILE):
        (where / name).rename(aside / name)
    with pytest.raises(StorageError, match="not there"):
        heal(opened, KEY)
    for name in ("arrays", STORE_FILE):
        (aside / name).rename(where / name)
    assert_whole(opened, NAMES)


@pytest.mark.parametrize(
    ("what", "compacted"),
    [
        ("zarr.json", False),
        ("mean/zarr.json", False),
        ("second_moment/zarr.json", False),
        ("record/zarr.json", False),
        ("zarr.json", True),
    ],
)
@pytest.mark.parametrize("how", [b"{", b"", None])
def test_descriptions_that_are_damaged_or_missing_are_written_anew_and_retire_no_row(
    tmp_path: Path, what: str, how: bytes | None, compacted: bool
) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        namespace = namespace_of(store)
        if compacted:
            compact(store, namespace, shard_rows=4)
        entry = store.entry(KEY)
    described = tmp_path / generation_path(namespace, entry.place.generation) / what
    whole = json.loads(described.read_bytes())
    described.unlink() if how is None else described.write_bytes(how)
    with Store.open(tmp_path) as store:
        healing = heal(store, KEY)
        assert (healing.damaged, healing.current) == (None, entry.place)
        assert_whole(store, NAMES)
        assert store.verify() == []
    assert json.loads(described.read_bytes()) == whole


def test_a_copy_whose_description_is_damaged_is_neither_passed_over_nor_swept(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        namespace = namespace_of(store)
        compact(store, namespace, shard_rows=4)
        collect(store, age=soon())
    (tmp_path / generation_path(namespace, 1) / "zarr.json").write_bytes(b"{")
    for path in tmp_path.glob("catalog.sqlite*"):
        path.rename(tmp_path / f"aside.{path.name}")
    with (
        Store.open(tmp_path, lost_catalog=True) as store,
        pytest.raises(CorruptEntryError, match="from a backup"),
    ):
        rebuild(store)
    for path in tmp_path.glob("catalog.sqlite*"):
        path.unlink()
    for path in tmp_path.glob("aside.*"):
        path.rename(tmp_path / path.name.removeprefix("aside."))
    with Store.open(tmp_path) as store:
        collect(store, age=soon())
        assert heal(store, KEY).damaged is None
        assert_whole(store, NAMES)


def test_verify_says_how_descriptions_are_mended(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
    (described,) = (tmp_path / "arrays").glob("*/mean/zarr.json")
    described.write_bytes(b"{")
    with Store.open(tmp_path) as store:
        assert all("covpool store verify --repair" in problem.message for problem in store.verify())
        assert [one for step in verify_entries(store, repair=True) for one in step.problems] == []
        assert_whole(store, NAMES)


def test_an_outdated_catalog_retires_nothing(tmp_path: Path, database_url: str) -> None:
    with Store.open(tmp_path, catalog=database_url) as store:
        fill(store, NAMES)
        backup = backup_of(store)
        fill(store, ["later"])
        chunk(store, "mean", 1).unlink()
    restore(database_url, backup)
    with Store.open(tmp_path, catalog=database_url) as store:
        with pytest.raises(OutdatedCatalogError):
            heal(store, KEY)
        assert KEY in store


def test_verify_repairs_what_it_finds_when_asked(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        compact(store, namespace_of(store), shard_rows=32)
        fill(store, ["later"])
        copy = chunk(store, "mean", 0, "*/compacted.1")
        # The first row of the shard; its source is still there.
        held = bytearray(copy.read_bytes())
        held[20] ^= 1
        copy.write_bytes(held)
        chunk(store, "mean", len(NAMES), "*").unlink()
    told = CliRunner().invoke(command, ["verify", "--store", str(tmp_path)])
    assert told.exit_code == 1
    assert "2 problem(s)." in told.output
    repaired = CliRunner().invoke(command, ["verify", "--store", str(tmp_path), "--repair"])
    assert repaired.exit_code == 1, "a key is lost, and was named"
    assert "2 problem(s), 1 of them repaired" in repaired.output
    assert example_key("later").digest in repaired.output
    again = CliRunner().invoke(command, ["verify", "--store", str(tmp_path), "--repair"])
    assert again.exit_code == 0, again.output
    with Store.open(tmp_path) as store:
        assert_whole(store, NAMES)
        assert example_key("later") not in store
        store.put(example_key("later"), example_moments("later", 8))
        assert_whole(store, ["later"])


def test_a_repair_beside_a_writer_that_mends_the_key_retires_nothing_good(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store, Store.open(tmp_path) as other:
        fill(store, NAMES)
        chunk(store, "record", 1).unlink()
        fill(other, ["b"])
        assert heal(store, KEY).damaged is None
        assert_whole(store, NAMES)
    shutil.rmtree(tmp_path)


def scrubbed(*arguments: str) -> Result:
    return CliRunner().invoke(command, ["scrub", "--store", *arguments])


def test_a_scrub_finds_and_repairs_what_is_damaged_beside_a_writer(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        flip(chunk(store, "second_moment", 1))
        chunk(store, "mean", 2).unlink()
        reported = scrubbed(str(tmp_path), "--report-only", "--once")
        assert reported.exit_code == 1
        assert "2 problem(s), 0 of them repaired" in reported.output
        assert KEY in store
        repaired = scrubbed(str(tmp_path), "--json")
        assert repaired.exit_code == 1, "two keys are lost, and were named"
        assert {json.loads(line)["key"] for line in repaired.stdout.splitlines()} == {
            example_key(name).digest for name in "bc"
        }
        fill(store, "bc")
        assert_whole(store, NAMES)
        again = scrubbed(str(tmp_path))
        assert (again.exit_code, again.stdout) == (0, "")


def test_a_scrub_reads_no_faster_than_it_may(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES, 24)
        began = time.monotonic()
        *_, last = scrub(store, rate=100_000)
        assert last.entries == len(NAMES)
        assert time.monotonic() - began > 0.95 * last.read / 100_000
        on_disk = (tmp_path / "arrays").glob("*/*/c.*")
        assert last.read == sum(path.stat().st_size for path in on_disk)


def test_a_scrub_that_was_ended_goes_on_where_it_was(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES, 24)
    cursor = tmp_path / "cursor"
    run = [sys.executable, "-c", "from covpool.store.commands.group import store; store()", "scrub"]
    slow = [*run, "--store", str(tmp_path), "--rate", "2kB/s", "--every", "7d", "--cursor", str(cursor)]
    process = subprocess.Popen(slow, stderr=subprocess.DEVNULL)
    with process:
        deadline = time.monotonic() + 30
        while not cursor.is_file() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.terminate()
        assert process.wait(10) == 0
    left = len(NAMES) - json.loads(cursor.read_text())["entries"]
    assert 0 < left < len(NAMES)
    told = scrubbed(str(tmp_path), "--cursor", str(cursor))
    assert told.exit_code == 0
    assert f"{len(NAMES)} entries scrubbed, 0 problem(s)" in told.output
    assert not cursor.exists()


@pytest.mark.parametrize("rate", ["0MB/s", "fast", "-3MB/s", "5", "5 furlongs"])
def test_a_rate_that_is_none_is_explained(tmp_path: Path, rate: str) -> None:
    told = scrubbed(str(tmp_path), "--rate", rate)
    assert told.exit_code == 2
    assert "write 50MB/s" in told.output


def test_a_scrub_of_an_outdated_store_only_reports(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        backup = backup_of(store)
        fill(store, ["later"])
        chunk(store, "mean", 1).unlink()
    restore(f"sqlite:///{tmp_path / 'catalog.sqlite'}", backup)
    told = scrubbed(str(tmp_path))
    assert told.exit_code == 1
    assert "only named" in told.output
    with Store.open(tmp_path) as store:
        assert KEY in store
