"""Where a store can lie: every test of what a store promises runs on each of these places."""

from dataclasses import dataclass

from covpool.store import Store


@dataclass(frozen=True)
class Place:
    """A location and the catalog's URL (None: the location's own)."""

    location: str
    catalog: str | None = None

    @property
    def lasting(self) -> bool:
        """Whether a second `open` finds what the first one left."""
        return self.location != "memory://"

    def open(self) -> Store:
        """The store there."""
        return Store.open(self.location, catalog=self.catalog)
