"""Export: files that plain zarr, numpy and safetensors read, with everything that is known of a matrix."""

import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from safetensors import safe_open
from safetensors.numpy import load_file

from covpool.store import LocationError, Store
from covpool.store.catalog.entries import Entry
from covpool.store.maintenance.export import export_npz, export_safetensors, export_zarr
from covpool.store.testing import example_key, example_moments
from tests.store.places import Place
from tests.store.tools import NAMES, fill


def assert_described(found: Any, entry: Entry) -> None:
    assert found["key"] == entry.key
    assert (found["count"], found["length"], found["sequence"]) == (entry.count, entry.length, entry.sequence)
    assert found["recipe"] == json.loads(entry.namespace.recipe.to_json())
    assert found["error"] == 0.0


def test_a_zarr_export_holds_full_matrices_and_their_metadata(place: Place, tmp_path: Path) -> None:
    target = tmp_path / "out.zarr"
    with place.open() as store:
        fill(store, NAMES, width=9)
        store.put(example_key("wide"), example_moments("wide", 12, "float64"))
        entries = store.catalog.entries()
        assert export_zarr(store, entries, target) == len(NAMES) + 1
        root = zarr.open_group(str(target), mode="r")
        assert dict(root.attrs) == {}
        groups: dict[str, Any] = dict(root.groups())
        for name, group in groups.items():
            mine = [entry for entry in entries if entry.namespace.id == name]
            described: Any = group.attrs["entries"]
            for row, entry in enumerate(mine):
                expected = store.get(entry.key)
                assert np.array_equal(group["second_moment"][row], expected.second_moment)
                assert np.array_equal(group["mean"][row], expected.mean)
                assert group["count"][row] == expected.count
                assert_described(described[row], entry)


def test_a_zarr_export_behind_a_plain_web_server_lists_its_members(tmp_path: Path) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

    with Store.open(tmp_path / "store") as store:
        fill(store, NAMES)
        entries = store.catalog.entries()
        export_zarr(store, entries, tmp_path / "out.zarr")
    name = entries[0].namespace.id
    arrays = ["count", "mean", "second_moment"]
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/out.zarr"
        root = zarr.open_group(address, mode="r")
        assert list(root.keys()) == [name]
        for inner in (dict(root.groups())[name], zarr.open_group(f"{address}/{name}", mode="r")):
            assert sorted(inner.keys()) == arrays
        server.shutdown()


def test_an_interrupted_zarr_export_goes_on_and_a_finished_one_is_not_overwritten(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    target = tmp_path / "out.zarr"
    with Store.open(tmp_path / "store") as store:
        fill(store, NAMES)
        entries = store.catalog.entries()
        with pytest.raises(KeyboardInterrupt):
            export_zarr(store, entries, target, progress=stop)
        with pytest.raises(LocationError, match="is no unfinished export of these"):
            export_zarr(store, entries[1:], target)
        assert export_zarr(store, entries, target) == len(NAMES) - 4
        groups: dict[str, Any] = dict(zarr.open_group(str(target), mode="r").groups())
        (group,) = groups.values()
        for row, entry in enumerate(entries):
            assert np.array_equal(group["mean"][row], store.get(entry.key).mean)
        with pytest.raises(LocationError, match="remove it or name another"):
            export_zarr(store, entries, target)


def test_an_npz_export_reads_with_numpy(tmp_path: Path) -> None:
    target = tmp_path / "out.npz"
    with Store.open(tmp_path / "store") as store:
        fill(store, NAMES)
        entries = store.catalog.entries()
        export_npz(store, entries, target)
        with np.load(target) as found:
            for described, entry in zip(json.loads(str(found["metadata"])), entries, strict=True):
                assert_described(described, entry)
            for entry in entries:
                expected = store.get(entry.key)
                assert found[f"{entry.key}/second_moment"].tobytes() == expected.second_moment.tobytes()
                assert found[f"{entry.key}/mean"].tobytes() == expected.mean.tobytes()
                assert found[f"{entry.key}/count"] == expected.count


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_safetensors_export_reads_with_safetensors(tmp_path: Path, dtype: str) -> None:
    target = tmp_path / "out.safetensors"
    with Store.open(tmp_path / "store") as store:
        for name in NAMES:
            store.put(example_key(name), example_moments(name, 7, dtype))
        entries = store.catalog.entries()
        export_safetensors(store, entries, target)
        found = load_file(target)
        for entry in entries:
            expected = store.get(entry.key)
            assert found[f"{entry.key}/second_moment"].tobytes() == expected.second_moment.tobytes()
            assert found[f"{entry.key}/mean"].tobytes() == expected.mean.tobytes()
        with safe_open(target, "np") as file:
            for described, entry in zip(json.loads(file.metadata()["covpool"]), entries, strict=True):
                assert_described(described, entry)


@pytest.mark.parametrize("export", [export_npz, export_safetensors])
def test_a_file_is_never_overwritten_nor_left_half(tmp_path: Path, export: Any) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    target = tmp_path / "out"
    with Store.open(tmp_path / "store") as store:
        fill(store, NAMES)
        entries = store.catalog.entries()
        with pytest.raises(KeyboardInterrupt):
            export(store, entries, target, progress=stop)
        assert [path.name for path in tmp_path.iterdir()] == ["store"]
        target.write_text("mine")
        with pytest.raises(LocationError, match="is there already"):
            export(store, entries, target)
        assert target.read_text() == "mine"
