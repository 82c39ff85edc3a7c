"""Compact: large objects instead of one per row, the same moments at every moment, whatever interrupts it."""

import asyncio
import threading
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from covpool.store import CorruptEntryError, Store, StoreError
from covpool.store.arrays.compacted_arrays import CompactedArrays
from covpool.store.arrays.layout import no_progress
from covpool.store.catalog.copies import Copies
from covpool.store.catalog.entries import Entry
from covpool.store.codecs import codec_id
from covpool.store.maintenance import compact as module
from covpool.store.maintenance.compact import compact
from covpool.store.maintenance.gc import collect
from covpool.store.maintenance.verify import verify
from covpool.store.testing import example_key, example_moments
from tests.store.arrays.test_format import reader_source
from tests.store.places import Place
from tests.store.tools import NAMES, assert_whole, fill, namespace_of, soon


def test_compacted_rows_read_back_bit_for_bit(place: Place) -> None:
    with place.open() as store:
        fill(store, NAMES)
        done = compact(store, namespace_of(store), shard_rows=4)
        assert done is not None
        assert (done.generation, done.rows, done.swapped, done.damaged) == (1, len(NAMES), len(NAMES), ())
        assert {entry.place.generation for entry in store.catalog.entries()} == {1}
        assert_whole(store, NAMES)
        assert store.verify() == []
        assert collect(store, age=soon()).retired == len(NAMES)
        assert_whole(store, NAMES)
        assert store.verify() == []


def test_a_compacted_genome_is_a_few_files(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        compact(store, namespace_of(store), shard_rows=4)
        collect(store, age=soon())
    shards = [path.name for path in tmp_path.glob("arrays/*/compacted.1/second_moment/c.*")]
    assert sorted(shards) == ["c.0.0.0", "c.1.0.0", "c.2.0.0"]
    assert not list(tmp_path.glob("arrays/*/second_moment/c.*"))


def test_any_zarr_reader_reads_a_compacted_copy(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES, width=9)
        compact(store, namespace_of(store), shard_rows=4)
        collect(store, age=soon())
    names: dict[str, object] = {}
    exec(compile(reader_source(), "FORMAT.md", "exec"), names)
    read = names["read"]
    assert callable(read)
    for name in NAMES:
        count, mean, second_moment = read(str(tmp_path), str(example_key(name)))
        expected = example_moments(name, 9)
        assert count == expected.count
        assert mean.tobytes() == expected.mean.tobytes()
        assert np.ascontiguousarray(second_moment).tobytes() == expected.second_moment.tobytes()


@pytest.mark.parametrize("codec", ["lossless", "bounded:1e-3"])
def test_rows_are_copied_as_they_are_encoded(tmp_path: Path, codec: str) -> None:
    with Store.open(tmp_path, codec=codec) as store:
        fill(store, NAMES, width=32)
        chunks = {name: store.chunk(example_key(name)) for name in NAMES}
        compact(store, namespace_of(store))
        assert {name: store.chunk(example_key(name)) for name in NAMES} == chunks


def test_a_copy_in_the_cold_codec_holds_the_same_moments(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES, width=64)
        chunks = {name: store.chunk(example_key(name)) for name in NAMES}
        done = compact(store, namespace_of(store), codec="cold")
        assert done is not None
        collect(store, age=soon())
        assert_whole(store, NAMES, width=64)
        assert store.verify() == []
        assert {name: store.chunk(example_key(name)) for name in NAMES} == chunks
        entry = store.catalog.entries()[0]
        assert store.arrays_of(entry.place).namespace.codec == codec_id("cold")
        store.put(example_key(NAMES[0]), example_moments(NAMES[0], 64))
        assert store.entry(example_key(NAMES[0])).place.generation == 1, "the same again changes nothing"


def test_the_files_of_a_copy_are_served_and_its_plan_is_not(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        compact(store, namespace_of(store))
        path = f"{namespace_of(store).id}/compacted.1"
        for name in ("zarr.json", "second_moment/zarr.json", "second_moment/c.0.0.0", "mean/c.0.0"):
            size = asyncio.run(store.files.size(f"{path}/{name}"))
            assert size == (tmp_path / "arrays" / path / name).stat().st_size
        for name in ("plan.json", "../zarr.json", "compacted.1/zarr.json"):
            assert asyncio.run(store.files.size(f"{path}/{name}")) is None


def test_lossy_rows_are_not_encoded_anew(tmp_path: Path) -> None:
    with Store.open(tmp_path, codec="bounded:1e-3") as store:
        fill(store, NAMES)
        with pytest.raises(StoreError, match="lossy"):
            compact(store, namespace_of(store), codec="cold")


def test_a_compacted_key_is_put_again_and_compacted_again(place: Place) -> None:
    with place.open() as store:
        fill(store, NAMES)
        compact(store, namespace_of(store))
        store.put(example_key("a"), example_moments("other"), replace=True)
        fill(store, ["new"])
        assert store.entry(example_key("a")).place.generation == 0
        done = compact(store, namespace_of(store))
        assert done is not None
        assert (done.generation, done.swapped) == (2, 2)
        assert store.get(example_key("a")).mean.tobytes() == example_moments("other").mean.tobytes()
        assert_whole(store, [*NAMES[1:], "new"])
        assert compact(store, namespace_of(store)) is None
        everything = compact(store, namespace_of(store), every=True)
        assert everything is not None
        assert (everything.generation, everything.swapped) == (3, len(NAMES) + 1)
        swept = collect(store, age=soon())
        assert swept.copies == 2
        assert_whole(store, [*NAMES[1:], "new"])
        assert store.verify() == []


def test_a_damaged_row_stays_where_it_is_and_is_named(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        bad = store.entry(example_key("b"))
        (path,) = tmp_path.glob(f"arrays/*/second_moment/c.{bad.row}.0.0")
        path.write_bytes(b"nonsense")
        done = compact(store, namespace_of(store))
        assert done is not None
        assert done.damaged == (example_key("b").digest,)
        assert store.entry(example_key("b")) == bad
        with pytest.raises(CorruptEntryError):
            store.get(example_key("b"))
        assert_whole(store, [name for name in NAMES if name != "b"])
        store.put(example_key("b"), example_moments("b"))
        assert_whole(store, NAMES)


@pytest.mark.parametrize("step", ["create_compacted", "mark_copy", "swap", "first shard", "second shard"])
def test_an_interrupted_compaction_leaves_nothing_half_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    class Interrupted(BaseException):
        pass

    def stop(*_: object) -> None:
        raise Interrupted

    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        before = [entry.place for entry in store.catalog.entries()]
        with monkeypatch.context() as patch, pytest.raises(Interrupted):
            progress = no_progress
            if step == "swap":
                patch.setattr(Copies, "use", stop)
            elif "shard" in step:
                after = 1 if step == "first shard" else 5
                progress = lambda done, total: stop() if done == after else None  # noqa: E731
            else:
                patch.setattr(module, step, stop)
            compact(store, namespace_of(store), shard_rows=4, progress=progress)
        assert [entry.place for entry in store.catalog.entries()] == before
        assert_whole(store, NAMES)
        assert set(asdict(collect(store, dry_run=True)).values()) == {0}
        # One of the planned keys is put anew before the compaction goes on.
        store.put(example_key("c"), example_moments("other"), replace=True)
    with Store.open(tmp_path) as store:
        done = compact(store, namespace_of(store), shard_rows=64)
        assert done is not None
        assert (done.generation, done.swapped) == (1, len(NAMES) - 1)
        assert store.get(example_key("c")).mean.tobytes() == example_moments("other").mean.tobytes()
        collect(store, age=soon())
        assert_whole(store, [name for name in NAMES if name != "c"])
        assert store.verify() == []
        assert compact(store, namespace_of(store)) is not None, "the key that was put anew"
        assert compact(store, namespace_of(store)) is None


def test_a_number_stands_for_one_copy_for_ever(tmp_path: Path) -> None:
    """A reader keeps what it knows of a copy, such as how many rows a shard has."""
    with Store.open(tmp_path) as store, Store.open(tmp_path) as reader:
        fill(store, NAMES)
        for number, shard_rows in ((1, 4), (2, 16)):
            done = compact(store, namespace_of(store), shard_rows=shard_rows)
            assert done is not None
            assert done.generation == number
            assert_whole(reader, NAMES)
            for name in NAMES:
                store.put(example_key(name), example_moments("other"), replace=True)
            collect(store, age=soon())
            for name in NAMES:
                store.put(example_key(name), example_moments(name), replace=True)
            collect(store, age=soon())
            assert not list(tmp_path.glob("arrays/*/compacted.*/*/c.*"))
        assert_whole(reader, NAMES)
        assert store.verify() == []


def test_an_abandoned_copy_is_swept_once_it_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(module, "mark_copy", stop)
            compact(store, namespace_of(store), shard_rows=4)
        assert store.verify() == [], "somebody may be making it"
        (problem,) = verify(store, leftover_age=soon())
        assert "a copy that no entry refers to" in problem.message
        assert collect(store, age=soon()).copies == 1
        assert not list(tmp_path.glob("arrays/*/compacted.*"))
        assert_whole(store, NAMES)
        assert store.verify() == []


def test_a_shard_that_does_not_read_back_is_never_read_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = CompactedArrays.write_shard

    def spoil(self: CompactedArrays, index: int, rows: list[object]) -> list[str]:
        paths = write(self, index, rows)  # type: ignore[arg-type]
        path = tmp_path / paths[-1]
        path.write_bytes(b"x" + path.read_bytes()[1:])
        return paths

    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        with monkeypatch.context() as patch, pytest.raises(StoreError, match="nothing was swapped"):
            patch.setattr(CompactedArrays, "write_shard", spoil)
            compact(store, namespace_of(store), shard_rows=4)
        assert {entry.place.generation for entry in store.catalog.entries()} == {0}
        compact(store, namespace_of(store), shard_rows=4)
        assert_whole(store, NAMES)
        assert store.verify() == []


def test_readers_see_the_right_moments_while_rows_are_swapped_and_swept(tmp_path: Path) -> None:
    stop, wrong = threading.Event(), list[BaseException]()
    with Store.open(tmp_path) as store:
        fill(store, NAMES)

        def read() -> None:
            with Store.open(tmp_path) as other:
                while not stop.is_set():
                    try:
                        assert_whole(other, NAMES)
                    except BaseException as error:
                        wrong.append(error)
                        return

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for _ in range(3):
            compact(store, namespace_of(store), shard_rows=4, every=True)
            collect(store, age=soon())
        stop.set()
        for reader in readers:
            reader.join()
        assert wrong == []


def test_two_compactions_at_once_make_one_copy(tmp_path: Path) -> None:
    results: list[object] = []
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        namespace = namespace_of(store)

        def run() -> None:
            with Store.open(tmp_path) as own:
                results.append(compact(own, namespace, shard_rows=4))

        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 2
        assert_whole(store, NAMES)
        assert store.verify() == []
        assert {entry.place.generation for entry in store.catalog.entries()} == {1}


def test_a_flipped_byte_in_a_shard_is_found(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        compact(store, namespace_of(store), shard_rows=16)
        (path,) = tmp_path.glob("arrays/*/compacted.1/second_moment/c.0.0.0")
        whole = path.read_bytes()
        for position in range(0, len(whole), 97):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
            found = [one for one in NAMES if not _reads(store, store.entry(example_key(one)))]
            assert len(found) in (1, len(NAMES)), "one row, or all where the index is hit"
        path.write_bytes(whole)
        assert store.verify() == []


def _reads(store: Store, entry: Entry) -> bool:
    try:
        store.get(entry.key)
    except CorruptEntryError:
        return False
    return True
