"""HTTP API, job queue and workers over a store.

Names are handed out on first use, so that the wire contract alone can be imported without a server.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
