"""/v1/moments and /zarr: the same matrix in every form, in part, many at once, and to plain zarr."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from obstore.store import HTTPStore
from safetensors.numpy import load
from starlette.testclient import TestClient
from zarr.storage import ObjectStore

from covpool.clients import Client, ProblemError, UnreachableError
from covpool.clients.arrays import decode_stream
from covpool.service.http.body_cache import BodyCache, Encoded
from covpool.store import Store
from covpool.store.arrays.schema import Namespace
from covpool.store.catalog.entries import Place
from covpool.store.maintenance.compact import compact
from covpool.store.testing import example_key, example_moments
from covpool.store.values.packing import unpack
from tests.service.in_process import fill, in_process
from tests.service.running import Running

NPY, SAFETENSORS, CHUNK = "application/x-npy", "application/x-safetensors", "application/vnd.covpool.chunk"
STREAM = "application/vnd.covpool.moments-stream"
NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("matrices") / "store"
    fill(found, *NAMES, width=33)
    return found


@pytest.fixture(scope="module")
def api(directory: Path) -> Iterator[TestClient]:
    with in_process(directory) as client:
        yield client


@pytest.fixture
def path() -> str:
    return f"/v1/moments/{example_key('a').digest}"


def test_the_stored_chunk_is_sent_as_it_lies_on_disk(api: TestClient, directory: Path, path: str) -> None:
    response = api.get(path, headers={"Accept": CHUNK})
    assert response.headers["content-type"] == CHUNK
    with Store.open(directory) as store:
        entry = store.entry(example_key("a"))
    file = directory / "arrays" / entry.namespace.id / "second_moment" / f"c.{entry.row}.0.0"
    assert response.content == file.read_bytes()
    assert response.headers["covpool-codec"] == entry.namespace.codec
    assert response.headers["covpool-width"] == "33"
    assert float(response.headers["covpool-error"]) == 0.0


def test_quality_decides_between_the_forms(api: TestClient, path: str) -> None:
    accept = f"{NPY};q=0.2, {SAFETENSORS};q=0.9, {CHUNK};q=0.1"
    assert api.get(path, headers={"Accept": accept}).headers["content-type"] == SAFETENSORS
    refused = api.get(path, headers={"Accept": "text/html"})
    assert refused.status_code == 406
    assert NPY in refused.json()["detail"]


@pytest.mark.parametrize("form", [NPY, SAFETENSORS, CHUNK])
def test_parts_of_a_body_make_up_the_whole(api: TestClient, path: str, form: str) -> None:
    whole = api.get(path, headers={"Accept": form})
    size = len(whole.content)
    middle = size // 3
    first = api.get(path, headers={"Accept": form, "Range": f"bytes=0-{middle - 1}"})
    last = api.get(path, headers={"Accept": form, "Range": f"bytes={middle}-"})
    assert first.status_code == last.status_code == 206
    assert first.content + last.content == whole.content
    assert last.headers["content-range"] == f"bytes {middle}-{size - 1}/{size}"
    assert last.headers["etag"] == whole.headers["etag"]
    assert whole.headers["accept-ranges"] == "bytes"
    beyond = api.get(path, headers={"Accept": form, "Range": f"bytes={size}-"})
    assert beyond.status_code == 416
    assert beyond.headers["content-range"] == f"bytes */{size}"
    head = api.head(path, headers={"Accept": form})
    assert (head.content, head.headers["content-length"]) == (b"", str(size))


def test_many_matrices_come_in_one_answer_in_the_order_asked(api: TestClient) -> None:
    keys = [example_key(name).digest for name in ("c", "a", "b", "a")]
    response = api.post("/v1/moments", json={"keys": keys})
    assert response.headers["content-type"] == STREAM
    # In pieces that end anywhere, as they come from a network.
    pieces = (response.content[n : n + 1000] for n in range(0, len(response.content), 1000))
    found = list(decode_stream(keys, pieces))
    assert [one.key for one in found] == keys
    for one, name in zip(found, ("c", "a", "b", "a"), strict=True):
        expected = example_moments(name, 33)
        assert one.count == expected.count
        assert one.mean.tobytes() == expected.mean.tobytes()
        assert one.second_moment.tobytes() == expected.second_moment.tobytes()


def test_each_frame_is_a_safetensors_file_behind_its_length(api: TestClient) -> None:
    key = example_key("a").digest
    body = api.post("/v1/moments", json={"keys": [key]}).content
    size = int.from_bytes(body[:8], "little")
    assert load(body[8 : 8 + size])["second_moment"].shape == (33, 33)
    assert body[8 + size :] == bytes(8)


def test_a_stream_that_breaks_off_is_never_taken_for_a_whole_one(api: TestClient) -> None:
    keys = [example_key(name).digest for name in NAMES]
    body = api.post("/v1/moments", json={"keys": keys}).content
    for cut in (0, 4, len(body) // 2, len(body) - 8 - 1):
        with pytest.raises(UnreachableError, match="fetch again"):
            list(decode_stream(keys, iter([body[:cut]])))


def test_unknown_and_malformed_keys_are_refused_before_anything_is_sent(api: TestClient) -> None:
    unknown = [example_key("a").digest, "0" * 64]
    response = api.post("/v1/moments", json={"keys": unknown})
    assert response.status_code == 404
    assert "1 of 2 keys" in response.json()["detail"]
    for keys in ([], ["x"], ["../../catalog.sqlite"], ["0" * 64] * 10_001, "0" * 64):
        assert api.post("/v1/moments", json={"keys": keys}).status_code == 422


def test_a_damaged_matrix_is_an_error_in_its_frame_and_to_the_client(
    service: Running, client: Client
) -> None:
    keys = [client.wait(client.submit(bases)).records[0].key for bases in ("GGGCCCTTTA", "GGGCCCTTTT")]
    with Store.open(service.store) as store:
        entry = store.entry(keys[1])
    chunk = service.store / "arrays" / entry.namespace.id / "second_moment" / f"c.{entry.row}.0.0"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:50] + bytes([whole[50] ^ 1]) + whole[51:])
    found = client.moments(keys)
    assert next(found).key == keys[0]
    with pytest.raises(ProblemError, match=keys[1]):
        next(found)
    client.wait(client.submit("GGGCCCTTTT"))
    assert [moments.key for moments in client.moments(keys)] == keys


def test_the_client_streams_what_it_fetches_one_by_one(client: Client) -> None:
    job = client.wait(client.submit(["ACGTTTAA", "ACGTTTAC", "ACGTTTAG"]))
    keys = [record.key for record in job.records]
    for one, key in zip(client.moments(keys), keys, strict=True):
        assert np.array_equal(one.second_moment, client.moments(key).second_moment)
    with pytest.raises(ProblemError) as caught:
        list(client.moments(["0" * 64]))
    assert caught.value.status == 404
    assert list(client.moments([])) == []


def test_plain_zarr_over_http_opens_a_namespace(service: Running, client: Client) -> None:
    key = client.wait(client.submit("GATTACAGATTACA")).records[0].key
    (entry,) = [entry for entry in client.index() if entry.key == key]
    address = f"{service.url}/zarr/{entry.namespace}"
    over_http = HTTPStore.from_url(address, client_options={"allow_http": True})
    group = zarr.open_group(ObjectStore(over_http, read_only=True), mode="r")
    assert group.attrs["width"] == entry.width
    second_moment, mean = group["second_moment"], group["mean"]
    assert isinstance(second_moment, zarr.Array)
    assert isinstance(mean, zarr.Array)
    packed = np.asarray(second_moment[entry.row])
    expected = client.moments(key)
    assert unpack(packed, entry.width).tobytes() == expected.second_moment.tobytes()
    assert np.asarray(mean[entry.row]).tobytes() == expected.mean.tobytes()


def test_zarr_files_are_the_stores_own_whole_and_in_part(api: TestClient, directory: Path) -> None:
    with Store.open(directory) as store:
        entry = store.entry(example_key("b"))
    name = f"{entry.namespace.id}/second_moment/c.{entry.row}.0.0"
    whole = (directory / "arrays" / name).read_bytes()
    assert api.get(f"/zarr/{name}").content == whole
    head = api.head(f"/zarr/{name}")
    assert (head.content, head.headers["content-length"]) == (b"", str(len(whole)))
    part = api.get(f"/zarr/{name}", headers={"Range": "bytes=-10"})
    assert (part.status_code, part.content) == (206, whole[-10:])
    assert api.get(f"/zarr/{name}", headers={"Range": f"bytes={len(whole)}-"}).status_code == 416
    assert api.get("/zarr/zarr.json").headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "..",
        "../catalog.sqlite",
        "%2e%2e/catalog.sqlite",
        "..%2fcatalog.sqlite",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/etc/passwd",
        "//etc/passwd",
        "zarr.json/../../catalog.sqlite",
        "catalog.sqlite",
        ".zgroup",
        "0" * 32,
        "0" * 32 + "/second_moment/c.0.0.0",
        "0" * 32 + "/second_moment/../zarr.json",
        "0" * 32 + "/second_moment/c.-1.0.0",
        "0" * 32 + "/second_moment/c.٣.0.0",
        "0" * 32 + "/second_moment/c.0.0.0%00",
        "A" * 32 + "/zarr.json",
        "x" * 5000,
    ],
    ids=lambda path: path[:80] or "empty",
)
def test_a_path_that_is_none_of_the_format_reaches_no_file(api: TestClient, path: str) -> None:
    response = api.get(f"/zarr/{path}")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


def test_encoded_matrices_are_kept_up_to_a_number_of_bytes() -> None:
    cache = BodyCache(100)
    place, other = (Place(Namespace(example_key("a").recipe, 8, "float32"), 0, row) for row in (0, 1))

    def body(size: int) -> Encoded:
        return Encoded(bytes(size), NPY, {}, place)

    for name in "abcde":
        cache.put(name, body(25))
    assert cache.get("a", NPY, place) is None, "not used for longest"
    assert all(cache.get(name, NPY, place) for name in "bcde")
    cache.get("b", NPY, place)
    cache.put("f", body(25))
    assert cache.get("b", NPY, place) and not cache.get("c", NPY, place)
    cache.put("g", body(26))
    assert cache.get("g", NPY, place) is None, "more than a quarter"
    cache.put("f", body(1))
    cache.put("h", body(24))
    assert all(cache.get(name, NPY, place) for name in "bdefh"), "replacing frees what was there"
    assert cache.get("b", SAFETENSORS, place) is None
    assert cache.get("b", NPY, other) is None, "of a row that is the key's no more"
    assert cache.get("b", NPY, place) is None, "so it is dropped"


def test_a_matrix_sent_twice_is_read_from_the_store_once(directory: Path, path: str) -> None:
    with in_process(directory) as api:
        first = api.get(path)
        for file in (directory / "arrays").glob("*/second_moment/c.0.0.0"):
            whole = file.read_bytes()
            file.write_bytes(b"")
            try:
                second = api.get(path)
            finally:
                file.write_bytes(whole)
    assert hashlib.sha256(first.content).digest() == hashlib.sha256(second.content).digest()
    assert np.load(io.BytesIO(first.content), allow_pickle=False).shape == (33, 33)


def test_a_compacted_copy_is_listed_where_it_lies_and_served_in_every_form(tmp_path: Path) -> None:
    keys = fill(tmp_path, *NAMES)
    with in_process(tmp_path) as api:
        before = [api.get(f"/v1/moments/{key}", headers={"Accept": CHUNK}).content for key in keys]
    with Store.open(tmp_path) as store:
        compact(store, store.entry(keys[0]).namespace, shard_rows=2)
    with in_process(tmp_path) as api:
        entries = {entry["key"]: entry for entry in api.get("/v1/index").json()["entries"]}
        assert all("/compacted.1" in entries[key]["namespace"] for key in keys)
        for key, chunk in zip(keys, before, strict=True):
            assert api.get(f"/v1/moments/{key}", headers={"Accept": CHUNK}).content == chunk
        for name in ("zarr.json", "second_moment/zarr.json", "second_moment/c.0.0.0"):
            assert api.get(f"/zarr/{entries[keys[0]]['namespace']}/{name}").status_code == 200


@pytest.mark.parametrize("prefix", ["", "namespace"])
def test_a_reader_over_http_lists_what_there_is(service: Running, client: Client, prefix: str) -> None:
    """As anybody would open it: zarr with fsspec, which cannot list over HTTP."""
    key = client.wait(client.submit("GATTACAGATTACA")).records[0].key
    (entry,) = [entry for entry in client.index() if entry.key == key]
    address = f"{service.url}/zarr" + (f"/{entry.namespace}" if prefix else "")
    group = zarr.open_group(address, mode="r")
    if not prefix:
        assert entry.namespace in list(group.keys())
        group = dict(group.groups())[entry.namespace]
    arrays: dict[str, Any] = dict(group.arrays())
    assert sorted(group.keys()) == sorted(arrays) == ["mean", "record", "second_moment"]
    assert arrays["second_moment"].shape == (1_000_000, entry.width + 1, entry.width // 2)
    array = np.asarray(arrays["mean"][entry.row])
    assert array.tobytes() == client.moments(key).mean.tobytes()


def test_a_group_that_did_not_change_is_not_sent_again(api: TestClient) -> None:
    first = api.get("/zarr/zarr.json")
    again = api.get("/zarr/zarr.json", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = api.head("/zarr/zarr.json")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(first.content)))
