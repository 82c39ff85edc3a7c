"""Partials: the files in which a store keeps what is known of sequences that are not finished.

Sums (see `partials.py`) by where they start, and tokens: what one step of a divided forward leaves for the
next.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from numpy.typing import NDArray

from covpool.store.errors import CorruptEntryError, FormatVersionError, StorageError
from covpool.store.storage.objects import Objects
from covpool.store.values.keys import MomentsKey, is_digest
from covpool.store.values.partial_sums import PartialSums, opened, sealed

FOLDER = "partials"

_TOKENS_NAME = re.compile(r"[a-z]+(\.[0-9]+)*")


class Partials:
    """What a store keeps of keys that are not ready; reached as `Store.partials`.

    Args:
        objects: the store's files.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def put(self, key: MomentsKey | str, partial: PartialSums) -> None:
        """Keep sums, in place of earlier ones of the same key and start.

        Those that start at 0 are dropped when the key becomes ready.

        Raises:
            StorageError: the storage refused; the earlier sums, if any, are still there.
        """
        self._write(_path(key, partial.start), partial.to_bytes(str(key)), key)

    def get(self, key: MomentsKey | str, start: int = 0) -> PartialSums | None:
        """The sums kept for a key from `start` on; None if there are none.

        Raises:
            CorruptEntryError: they do not read back intact.
            StorageError: the storage cannot be reached.
            FormatVersionError: another version of covpool wrote them.
        """
        content = self._read(_path(key, start))
        return None if content is None else PartialSums.from_bytes(content, str(key))

    def chain(self, key: MomentsKey | str) -> list[PartialSums]:
        """Sums that follow each other from 0 on; the chain ends before what is not there, or damaged."""
        found: list[PartialSums] = []
        end = 0
        with suppress(CorruptEntryError, FormatVersionError):
            while (one := self.get(key, end)) is not None and one.position > end:
                found.append(one)
                end = one.position
        return found

    def put_tokens(self, key: MomentsKey | str, name: str, tokens: NDArray[Any]) -> None:
        """Keep the (tokens, width) values that a step of a divided forward ends in.

        Raises:
            StorageError: the storage refused.
        """
        described = {"tokens": name}
        self._write(_path(key, name), sealed(str(key), {"values": tokens}, described), key)

    def get_tokens(self, key: MomentsKey | str, name: str) -> NDArray[Any] | None:
        """What `put_tokens` kept; None if there is nothing.

        Raises:
            CorruptEntryError, FormatVersionError: as from `get`.
        """
        content = self._read(_path(key, name))
        if content is None:
            return None
        arrays, header = opened(content, str(key))
        if header.get("tokens") != name:
            raise CorruptEntryError(f"{key}: tokens {name} are others; drop them and start again")
        found: NDArray[Any] = arrays["values"]
        return found

    def drop(self, key: MomentsKey | str) -> None:
        """Forget the sums kept for a key from 0 on, if there are any."""
        self._objects.delete(_path(key, 0))

    def drop_all(self, keys: Iterable[MomentsKey | str]) -> None:
        """Forget whatever is kept for some keys."""
        found = partial_paths(self._objects)
        for key in keys:
            for path in found.get(str(key), []):
                self._objects.delete(path)

    def _read(self, path: str) -> bytes | None:
        try:
            return self._objects.read(path)
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(f"{path}: cannot be read now ({error.strerror or error})") from error

    def _write(self, path: str, content: bytes, key: MomentsKey | str) -> None:
        try:
            self._objects.write(path, content)
        except OSError as error:
            raise StorageError(
                f"{key}: what is known of it so far could not be written ({error}); make room or fix the "
                "permissions"
            ) from error


def partial_paths(objects: Objects) -> dict[str, list[str]]:
    """Paths of what is kept, by key."""
    found: dict[str, list[str]] = {}
    for path in objects.below(FOLDER):
        key = path.rpartition("/")[2].partition(".")[0]
        if is_digest(key):
            found.setdefault(key, []).append(path)
    return found


def _path(key: MomentsKey | str, which: int | str) -> str:
    # Part of a path: nothing but a digest may be one.
    if not is_digest(str(key)):
        raise ValueError(f"{key}: not a key; give a MomentsKey or its digest")
    if isinstance(which, str) and _TOKENS_NAME.fullmatch(which) is None:
        raise ValueError(f"{which!r}: tokens are named by a word and numbers, such as encoded.0.3")
    return f"{FOLDER}/{key}.{which}" if which else f"{FOLDER}/{key}"
