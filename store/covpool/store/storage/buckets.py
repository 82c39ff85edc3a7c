"""Buckets: arrays in S3-compatible object storage, through obstore, with errors of `covpool.store`."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from importlib.util import find_spec
from itertools import chain
from typing import TYPE_CHECKING, Literal, TypeVar

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.abc.store import Store as ZarrStorage
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import ObjectStore

from covpool.store.errors import LocationError, StorageError

if TYPE_CHECKING:
    from obstore.store import S3Store

T = TypeVar("T")

#: Repeats of a request after a temporary failure, and their time limit in seconds.
RETRIES = 5
RETRY_S = 60.0

#: Signs of missing or refused credentials; without any, the cloud metadata address is queried.
_NOT_ALLOWED = ("401 Unauthorized", "403 Forbidden", "169.254.169.254")

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


def open_bucket(url: str, options: Mapping[str, str], *, read_only: bool = False) -> ZarrStorage:
    """The storage under s3://bucket/prefix.

    Endpoint, region and credentials come from `options` (endpoint, region, access_key_id,
    secret_access_key, session_token, …), else from the environment (AWS_ENDPOINT_URL, AWS_REGION,
    AWS_ACCESS_KEY_ID, …). Plain http is spoken when the endpoint says so.

    Raises:
        LocationError: obstore is not installed, the URL or an option is wrong, or there is no such bucket.
        StorageError: the bucket cannot be reached, or may not be read.
    """
    if find_spec("obstore") is None:
        raise LocationError(f"{url}: object storage is not installed; pip install 'covpool[s3]'")
    import obstore
    from obstore.exceptions import BaseError
    from obstore.store import S3Store

    named = (options.get("endpoint"), *(os.environ.get(name) for name in _ENDPOINTS))
    endpoint = next((value for value in named if value), "")
    try:
        bucket = S3Store.from_url(
            url,
            config=dict(options),  # type: ignore[arg-type]
            client_options={"allow_http": endpoint.startswith("http://"), "connect_timeout": "10s"},
            retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_S)},
        )
    except (BaseError, ValueError) as error:
        raise LocationError(
            f"{url}: {_message(error)}; write s3://bucket/prefix and known options"
        ) from error
    with _named(url):
        # A bucket that does not exist would read as one whose objects are all missing.
        obstore.list_with_delimiter(bucket)
    return Bucket(bucket, url, read_only=read_only)


class Bucket(ObjectStore["S3Store"]):
    """Zarr storage in a bucket; one object is written or replaced in one step.

    Requests block a thread of Python's own each. With zarr's own class, whose requests are asynchronous, a
    process was seen to abort as its interpreter exited. The cause is not certain: supposedly a request that
    ended in a thread unknown to Python at that moment.
    """

    def __init__(self, store: "S3Store", url: str, *, read_only: bool = False) -> None:
        super().__init__(store, read_only=read_only)
        self._url = url

    def with_read_only(self, read_only: bool = False) -> "Bucket":
        """The same bucket, for reading only or for both."""
        return Bucket(self.store, self._url, read_only=read_only)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """An object's bytes, or some of them; None where there is none."""
        try:
            content = await asyncio.to_thread(self._get, key, byte_range)
        except FileNotFoundError:
            return None
        return prototype.buffer.from_bytes(content)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Ranges of several objects."""
        return await asyncio.gather(*(self.get(key, prototype, wanted) for key, wanted in key_ranges))

    async def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        try:
            await self.getsize(key)
        except FileNotFoundError:
            return False
        return True

    async def getsize(self, key: str) -> int:
        """Bytes of an object; `FileNotFoundError` where there is none."""
        return int((await asyncio.to_thread(self._request, key, self.store.head))["size"])

    async def set(self, key: str, value: Buffer) -> None:
        """Write or replace an object."""
        self._check_writable()
        await asyncio.to_thread(self._put, key, value.to_bytes(), "overwrite")

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write an object unless there is one."""
        from obstore.exceptions import AlreadyExistsError

        self._check_writable()
        with suppress(AlreadyExistsError):
            await asyncio.to_thread(self._put, key, value.to_bytes(), "create")

    def create(self, key: str, value: bytes) -> bool:
        """Write an object unless another one is there; returns whether it holds `value` now."""
        from obstore.exceptions import AlreadyExistsError

        self._check_writable()
        try:
            self._put(key, value, "create")
        except AlreadyExistsError:
            # It may be this one: obstore repeats a request whose answer was lost.
            return self._get(key, None) == value
        return True

    def put_parts(self, key: str, parts: Iterator[bytes]) -> None:
        """Write or replace an object, which appears when all of its parts have been taken."""
        self._check_writable()
        first, second = next(parts, b""), next(parts, None)
        if second is None:
            self._put(key, first, "overwrite")
            return
        self._request(key, self.store.put, chain((first, second), parts), use_multipart=True)

    async def delete(self, key: str) -> None:
        """Delete an object, if there is one."""
        self._check_writable()
        with suppress(FileNotFoundError):
            await asyncio.to_thread(self._request, key, self.store.delete)

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:  # type: ignore[override]
        """Names of all objects under a prefix."""

        def names(prefix: str) -> list[str]:
            return [item["path"] for batch in self.store.list(prefix) for item in batch]

        for name in await asyncio.to_thread(self._request, prefix, names):
            yield name

    def _get(self, key: str, byte_range: ByteRequest | None) -> bytes:
        match byte_range:
            case None:
                wanted: tuple[int, int] | dict[str, int] | None = None
            case RangeByteRequest(start=start, end=end):
                wanted = (start, end)
            case OffsetByteRequest(offset=offset):
                wanted = {"offset": offset}
            case SuffixByteRequest(suffix=suffix):
                wanted = {"suffix": suffix}
        options = None if wanted is None else {"range": wanted}
        with _named(f"{self._url}/{key}"):
            return bytes(self.store.get(key, options=options).bytes())  # type: ignore[arg-type]

    def _put(self, key: str, value: bytes, mode: Literal["create", "overwrite"]) -> None:
        self._request(key, self.store.put, value, mode=mode, use_multipart=False)

    def _request(self, key: str, send: Callable[..., T], *values: object, **options: object) -> T:
        with _named(f"{self._url}/{key}"):
            return send(key, *values, **options)


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Errors of obstore as errors of `covpool.store`, with the object's name and the remedy."""
    from obstore.exceptions import AlreadyExistsError, BaseError

    try:
        yield
    except AlreadyExistsError:
        raise
    except (BaseError, FileNotFoundError) as error:
        message = _message(error)
        if "NoSuchBucket" in message:
            raise LocationError(f"{what}: there is no such bucket; create it, or mend the name") from error
        if isinstance(error, FileNotFoundError):
            raise
        remedy = (
            "check the credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) and what they may do"
            if any(sign in message for sign in _NOT_ALLOWED)
            else "check the endpoint (AWS_ENDPOINT_URL), the region and the network, and try again "
            "(repeating is harmless)"
        )
        raise StorageError(f"{what}: {message}; {remedy}") from error


def _message(error: Exception) -> str:
    """The first line of the message of obstore, with the server's code instead of its XML."""
    text = str(error)
    first = text.splitlines()[0].partition(": <?xml")[0]
    code = re.search(r"<Code>(\w+)</Code>", text)
    return f"{first} ({code.group(1)})" if code else first
