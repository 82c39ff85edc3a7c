"""Healing over HTTP: a damaged matrix is retired and reported, and can be computed again."""

import logging
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from covpool.service.errors import MatrixLostError
from covpool.service.http.context import Context
from covpool.service.queue.jobs import lose
from covpool.store.errors import CatalogError, CorruptEntryError, StorageError, StoreError
from covpool.store.maintenance.healing import Healing, heal

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Error of a record whose matrix was lost; its bases are kept only while its task is queued.
_SUBMIT_AGAIN = "its cached matrix was damaged and has been retired; submit the sequence again"


def read_whole(context: Context, key: str, read: Callable[[str], T]) -> T:
    """The result of `read` for a key; where its row is damaged, another intact row is read.

    Raises:
        MatrixLostError: no intact row; the damaged one was retired, and the key can be computed again.
        KeyNotFoundError: nothing is cached under the key.
        CorruptEntryError: the row is damaged, and the store may not be written.
        StorageError, CatalogError: storage or database are not available; nothing was retired.
    """
    try:
        return read(key)
    except CorruptEntryError as error:
        healing = _healed(context, key, error)
    if healing.current is None:
        raise MatrixLostError(
            f"{healing.message or key}; compute it again: send the sequence that it stands for to "
            "/v1/embeddings or /v1/jobs, or give it to covpool extract"
        )
    return read(key)


def _healed(context: Context, key: str, error: CorruptEntryError) -> Healing:
    identity = context.store.entry(key).moments_key
    try:
        healing = heal(context.store, key, on_commit=partial(lose, key=identity, error=_SUBMIT_AGAIN))
    except (StorageError, CatalogError, CorruptEntryError):
        raise
    except StoreError as refused:
        raise CorruptEntryError(f"{error}; it was not retired: {refused}") from error
    if healing.damaged is not None:
        log.warning("damaged: %s", healing.message)
        context.metrics.healed(lost=healing.current is None)
    return healing
