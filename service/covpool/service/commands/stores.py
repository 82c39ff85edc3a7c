"""The store a command works on, chosen as the service chooses it."""

import click

from covpool.service.errors import SettingsError
from covpool.service.settings import Settings
from covpool.store.errors import LocationError, ReadOnlyError
from covpool.store.locations import MEMORY
from covpool.store.zarr_store import Store

store_option = click.option("--store", help="Directory of the store; COVPOOL_STORE, or covpool-store.")


def chosen_settings(location: str | None = None) -> Settings:
    """The settings of this environment, with the store of the option where it was given.

    Raises:
        click.UsageError: a setting is wrong.
    """
    try:
        return Settings.read(store=location)
    except SettingsError as error:
        raise click.UsageError(str(error)) from error


def open_store(location: str | None, *, writing: bool = False, create: bool = False) -> Store:
    """The store at this location, or where the settings say, with its catalog; for reading only by default.

    Args:
        location: None for the setting.
        writing: for a command that changes a store that is there.
        create: for a command that writes: make the store where there is none.

    Raises:
        StoreNotFoundError: there is none, and none is to be made.
        ReadOnlyError: the settings are for reading only, and the command writes.
        LocationError: memory://, which would be gone when the command ends.
    """
    settings = chosen_settings(location)
    if settings.store == MEMORY:
        raise LocationError(f"{MEMORY}: lives in one process only; give a directory or s3://bucket/prefix")
    if not (writing or create):
        return Store.open(settings.store, catalog=settings.catalog, read_only=True)
    require_writing(settings)
    return Store.open(settings.store, catalog=settings.catalog, create=create)


def require_writing(settings: Settings) -> None:
    """Refuse to change a store under settings for reading only.

    Raises:
        ReadOnlyError: they are.
    """
    if settings.read_only:
        raise ReadOnlyError(
            f"{settings.store}: COVPOOL_READ_ONLY (read_only in the file of settings) is set, and this would "
            "write; unset it, or work on another store"
        )
