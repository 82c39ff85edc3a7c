"""Partial files: the stored sums of unfinished sequences, see `PartialSums`."""

from covpool.store.errors import StorageError
from covpool.store.storage.objects import Objects
from covpool.store.values.keys import MomentsKey, is_digest
from covpool.store.values.partial_sums import PartialSums

FOLDER = "partials"


class Partials:
    """Stored sums of keys that are not ready; the attribute `Store.partials`.

    Args:
        objects: the store's files.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def put(self, key: MomentsKey | str, partial: PartialSums) -> None:
        """Store sums, replacing earlier ones of the key; they are deleted when the key becomes ready.

        Raises:
            StorageError: the storage refused; the earlier sums, if any, are still there.
        """
        try:
            self._objects.write(_path(key), partial.to_bytes(str(key)))
        except OSError as error:
            raise StorageError(
                f"{key}: what is known of it so far could not be written ({error}); make room or fix the "
                "permissions"
            ) from error

    def get(self, key: MomentsKey | str) -> PartialSums | None:
        """The stored sums of a key; None if there are none.

        Raises:
            CorruptEntryError: they do not read back intact.
            StorageError: the storage cannot be reached.
            FormatVersionError: another version of covpool wrote them.
        """
        content = self._objects.read(_path(key))
        return None if content is None else PartialSums.from_bytes(content, str(key))

    def drop(self, key: MomentsKey | str) -> None:
        """Delete the stored sums of a key, if there are any."""
        self._objects.delete(_path(key))

    def paths(self) -> dict[str, list[str]]:
        """Paths of stored sums, by key; covpool 0.1 may have written several."""
        paths: dict[str, list[str]] = {}
        for path in self._objects.below(FOLDER):
            key = path.rpartition("/")[2].partition(".")[0]
            if is_digest(key):
                paths.setdefault(key, []).append(path)
        return paths


def _path(key: MomentsKey | str) -> str:
    # It becomes part of a path: only a digest is allowed.
    if not is_digest(str(key)):
        raise ValueError(f"{key}: not a key; give a MomentsKey or its digest")
    return f"{FOLDER}/{key}"
