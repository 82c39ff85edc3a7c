"""Opening: the store that the settings name, as every process of the service opens it."""

from covpool.service.settings import Settings
from covpool.store.store import Store


def open_chosen(settings: Settings, *, create: bool = True) -> Store:
    """The store at its location, with its catalog, codec and durability.

    Args:
        settings: of the service.
        create: make the store where there is none; where the settings are for reading only nothing is made.

    Raises:
        StoreNotFoundError: there is none, and none is to be made.
        StoreError: as from `Store.open`.
    """
    return Store.open(
        settings.store,
        catalog=settings.catalog,
        codec=settings.codec,
        durability=settings.durability,
        create=create,
        read_only=settings.read_only,
    )
