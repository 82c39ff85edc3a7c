"""What a cached result is and where it lies: keys, moments, bottlenecks, Zarr arrays, catalog.

Names are handed out on first use, so that reading a key or moments needs neither zarr nor SQLAlchemy.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
