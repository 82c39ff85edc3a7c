"""What a cached result is and where it lies: keys, moments, bottlenecks, Zarr arrays, catalog.

Names are handed out on first use, so that reading a key or moments needs neither zarr nor SQLAlchemy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from covpool.store.bottleneck import Bottleneck as Bottleneck
    from covpool.store.errors import BottleneckError as BottleneckError
    from covpool.store.errors import CapacityError as CapacityError
    from covpool.store.errors import CorruptEntryError as CorruptEntryError
    from covpool.store.errors import FormatVersionError as FormatVersionError
    from covpool.store.errors import InvalidMomentsError as InvalidMomentsError
    from covpool.store.errors import KeyNotFoundError as KeyNotFoundError
    from covpool.store.errors import LocationError as LocationError
    from covpool.store.errors import StoreError as StoreError
    from covpool.store.keys import MomentsKey as MomentsKey
    from covpool.store.keys import Recipe as Recipe
    from covpool.store.keys import sequence_digest as sequence_digest
    from covpool.store.moments import Moments as Moments
    from covpool.store.zarr_store import Store as Store

_HOME = {
    "Bottleneck": "bottleneck",
    "BottleneckError": "errors",
    "CapacityError": "errors",
    "CorruptEntryError": "errors",
    "FormatVersionError": "errors",
    "InvalidMomentsError": "errors",
    "KeyNotFoundError": "errors",
    "LocationError": "errors",
    "Moments": "moments",
    "MomentsKey": "keys",
    "Recipe": "keys",
    "Store": "zarr_store",
    "StoreError": "errors",
    "sequence_digest": "keys",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
