"""Stores in a bucket: a real S3-compatible server over HTTP, several writers, damage and refusals."""

import os
import random
import socket
from pathlib import Path

import pytest
from obstore.store import S3Store

from covpool.store import CorruptEntryError, KeyNotFoundError, LocationError, StorageError, Store, StoreError
from covpool.store.testing import example_key, example_moments
from tests.s3 import S3Server
from tests.store.places import Place
from tests.store.test_many_processes import assert_all_read_back, go, writer


@pytest.fixture
def place(s3: S3Server, postgres_url: str) -> Place:
    """A new prefix of a new bucket, with a catalog in Postgres."""
    return Place(f"s3://{s3.new_bucket()}/some/prefix", postgres_url)


def chunk(s3: S3Server, place: Place, store: Store, name: str, array: str) -> tuple[S3Store, str]:
    """The bucket and the object that holds one array's row of a key."""
    entry = store.entry(example_key(name))
    bucket, _, prefix = place.location.removeprefix("s3://").partition("/")
    indices = {"second_moment": ".0.0", "mean": ".0", "record": ".0"}[array]
    return s3.objects(bucket), f"{prefix}/arrays/{entry.namespace.id}/{array}/c.{entry.row}{indices}"


def test_processes_with_overlapping_keys_lose_and_damage_none(place: Place) -> None:
    names = [f"gene{i}" for i in range(12)]
    shuffled = [random.Random(seed).sample(names, 8) for seed in range(4)]
    assert place.catalog is not None
    writers = [writer(place.location, chosen, place.catalog) for chosen in shuffled]
    for process in writers:
        go(process)
    for process, chosen in zip(writers, shuffled, strict=True):
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.split() == chosen
    with place.open() as store:
        put = set().union(*shuffled)
        assert_all_read_back(store, put)
        assert store.verify() == []
        rows = [entry.row for entry in store.catalog.entries()]
        assert len(set(rows)) == len(rows) == len(put)


def test_two_prefixes_of_one_bucket_share_nothing(s3: S3Server, tmp_path: Path) -> None:
    bucket = s3.new_bucket()
    with (
        Store.open(f"s3://{bucket}/one", catalog=f"sqlite:///{tmp_path / 'one'}") as one,
        Store.open(f"s3://{bucket}/other", catalog=f"sqlite:///{tmp_path / 'other'}") as other,
    ):
        one.put(example_key("a"), example_moments("a"))
        with pytest.raises(KeyNotFoundError):
            other.get(example_key("a"))
        other.put(example_key("a"), example_moments("b"))
        assert one.get(example_key("a")).mean.tobytes() == example_moments("a").mean.tobytes()


@pytest.mark.parametrize("array", ["second_moment", "mean", "record"])
def test_a_deleted_object_is_found(s3: S3Server, place: Place, array: str) -> None:
    with place.open() as store:
        for name in "ab":
            store.put(example_key(name), example_moments(name))
        objects, path = chunk(s3, place, store, "a", array)
        objects.delete(path)
        with pytest.raises(CorruptEntryError, match=f"{example_key('a')}.*compute it again"):
            store.get(example_key("a"))
        assert [problem.key for problem in store.verify()] == [str(example_key("a"))]
        store.get(example_key("b"))


@pytest.mark.parametrize("array", ["second_moment", "mean", "record"])
def test_an_altered_object_is_found(s3: S3Server, place: Place, array: str) -> None:
    with place.open() as store:
        store.put(example_key("a"), example_moments("a"))
        objects, path = chunk(s3, place, store, "a", array)
        whole = bytes(objects.get(path).bytes())
        for altered in (whole[:-1], b"", whole[:9] + bytes([whole[9] ^ 1]) + whole[10:]):
            objects.put(path, altered)
            with pytest.raises(CorruptEntryError, match=f"{example_key('a')}.*compute it again"):
                store.get(example_key("a"))
        objects.put(path, whole)
        assert store.verify() == []


def test_a_bucket_needs_a_catalog_and_the_error_shows_one() -> None:
    with pytest.raises(
        LocationError, match=r"s3://genes/x: .*catalog='postgresql://user:password@host/name'"
    ):
        Store.open("s3://genes/x")


def test_a_bucket_that_does_not_exist_is_named(s3: S3Server, tmp_path: Path) -> None:
    with pytest.raises(LocationError, match="s3://no-such-bucket/x: there is no such bucket; create it"):
        Store.open("s3://no-such-bucket/x", catalog=f"sqlite:///{tmp_path / 'c.sqlite'}")


def test_refused_credentials_are_named_and_nothing_is_half_stored(s3: S3Server, place: Place) -> None:
    key = example_key("a")
    with place.open() as store:
        store.put(key, example_moments("a"))
        with s3.closed_to_strangers():
            with pytest.raises(StorageError, match=r"403 Forbidden.*AWS_ACCESS_KEY_ID"):
                store.get(key)
            with pytest.raises(StoreError, match=r"403 Forbidden"):
                store.put(example_key("b"), example_moments("b"))
            with pytest.raises(StorageError, match=r"403 Forbidden.*AWS_ACCESS_KEY_ID"):
                place.open()
        assert example_key("b") not in store
        store.put(example_key("b"), example_moments("b"))
        assert len(store) == 2
        assert store.verify() == []


def test_an_unreachable_endpoint_is_named_with_the_remedy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    options = {"endpoint": endpoint, "access_key_id": "a", "secret_access_key": "hidden"}
    with pytest.raises(StorageError, match=rf"s3://b/x: .*{endpoint}.*check the endpoint") as found:
        Store.open("s3://b/x", catalog=f"sqlite:///{tmp_path / 'c.sqlite'}", options=options)
    assert "hidden" not in str(found.value)


def test_options_stand_for_the_environment(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    names = {
        "endpoint": "AWS_ENDPOINT_URL",
        "region": "AWS_REGION",
        "access_key_id": "AWS_ACCESS_KEY_ID",
        "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    }
    options = {option: s3.environment[variable] for option, variable in names.items()}
    catalog = f"sqlite:///{tmp_path / 'c.sqlite'}"
    with Store.open(f"s3://{s3.new_bucket()}/x", catalog=catalog, options=options) as store:
        store.put(example_key("a"), example_moments("a"))
        assert store.verify() == []


def test_unknown_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LocationError, match="colour"):
        Store.open("s3://b/x", catalog="sqlite://", options={"colour": "red"})
    with pytest.raises(LocationError, match="takes no options"):
        Store.open(tmp_path, options={"region": "us-east-1"})


def test_without_obstore_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covpool.store.storage.buckets.find_spec", lambda name: None)
    with pytest.raises(LocationError, match=r"pip install 'covpool\[s3\]'"):
        Store.open("s3://genes/x", catalog="sqlite://")
