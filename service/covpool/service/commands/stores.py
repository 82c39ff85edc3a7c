"""The store a command works on, chosen as the service chooses it."""

import click

from covpool.service.settings import Settings
from covpool.store.zarr_store import Store

store_option = click.option("--store", help="Directory of the store; COVPOOL_STORE, or covpool-store.")


def open_store(location: str | None) -> Store:
    """The store at this location, or where the settings say, with its catalog."""
    settings = Settings() if location is None else Settings(store=location)
    return Store.open(settings.store, catalog=settings.catalog)
