"""HTTP API, job queue and workers over a store.

Names are handed out on first use, so that the wire contract alone can be imported without a server.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from covpool.service.app import create_app as create_app
    from covpool.service.queue import Queue as Queue
    from covpool.service.settings import Settings as Settings

_HOME = {"Queue": "queue", "Settings": "settings", "create_app": "app"}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
