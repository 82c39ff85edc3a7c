"""Errors of the store; every message carries the key or path and the remedy.

StoreError
├── KeyNotFoundError (KeyError)          the key was never stored, or is not ready yet
├── CorruptEntryError (ValueError)       stored bytes fail their checksum, are missing, or are another key's
├── FormatVersionError (ValueError)      the directory was written by another major format version
├── InvalidMomentsError (ValueError)     the moments offered are not finite, not symmetric, or misshapen
├── CapacityError (OverflowError)        the namespace's fixed-size array has no free row left
├── CatalogError (OSError)               the catalog's database cannot be reached, or refused
├── OutdatedCatalogError (ValueError)    the catalog is older than the arrays, until it is rebuilt
├── ReadOnlyError (ValueError)           the store is open for reading only, or may only be read
├── StorageError (OSError)               the storage cannot be reached, is full or read-only
├── LocationError (ValueError)           the location string names no supported kind of store
│   └── StoreNotFoundError (LookupError) nothing was made there, by a reader that must not make it
├── PoolingError (ValueError)            there is no pooling of that name, or it cannot be applied to these
└── BottleneckError (ValueError)         a bottleneck file is unreadable, or made for other moments
"""


class StoreError(Exception):
    """Root of all errors raised by `covpool.store`."""


class KeyNotFoundError(StoreError, KeyError):
    """The key has no ready entry."""

    def __str__(self) -> str:
        # KeyError would show the repr of the message.
        return str(self.args[0])


class CorruptEntryError(StoreError, ValueError):
    """An entry the catalog calls ready cannot be read back intact."""


class FormatVersionError(StoreError, ValueError):
    """The store on disk follows another major version of FORMAT.md."""


class InvalidMomentsError(StoreError, ValueError):
    """Moments that must not be cached: not finite, not symmetric, or misshapen."""


class CapacityError(StoreError, OverflowError):
    """A namespace is full."""


class CatalogError(StoreError, OSError):
    """The catalog's database cannot be reached, or refused."""


class OutdatedCatalogError(StoreError, ValueError):
    """The catalog is older than the arrays it describes; the store is read-only until it is rebuilt."""


class ReadOnlyError(StoreError, ValueError):
    """Something was to be written into a store that is open for reading only, or that may only be read."""


class StorageError(StoreError, OSError):
    """The storage cannot be reached, is full or read-only, or refused."""


class LocationError(StoreError, ValueError):
    """A location string that no kind of store answers to."""


class StoreNotFoundError(LocationError, LookupError):
    """There is no store at the location, and none is to be created."""


class PoolingError(StoreError, ValueError):
    """No pooling of that name, or moments that do not go into one table."""


class BottleneckError(StoreError, ValueError):
    """A bottleneck that cannot be read, or does not belong to these moments."""
