"""Stores: opens the store of a command, chosen by the same settings as the service's."""

import click

from covpool.service.errors import SettingsError
from covpool.service.settings import Settings
from covpool.store.errors import LocationError, ReadOnlyError
from covpool.store.storage.locations import MEMORY
from covpool.store.storage.whole_files import Durability
from covpool.store.store import Store


def chosen_settings(
    location: str | None = None, *, durability: Durability | None = None, codec: str | None = None
) -> Settings:
    """The settings of this environment, replaced by options where present.

    Raises:
        click.UsageError: a setting is wrong.
    """
    try:
        return Settings.read(store=location, durability=durability, codec=codec)
    except SettingsError as error:
        raise click.UsageError(str(error)) from error


def open_store(
    location: str | None,
    *,
    writing: bool = False,
    create: bool = False,
    durability: Durability | None = None,
    codec: str | None = None,
) -> Store:
    """The store at this location, or where the settings say, with its catalog.

    It is opened for reading only, unless the command writes.

    Args:
        location: None for the setting.
        writing: the command changes an existing store.
        create: the command writes, and makes the store if there is none.
        durability, codec: None for the settings.

    Raises:
        StoreNotFoundError: there is no store, and `create` is False.
        ReadOnlyError: the settings are read-only, and the command writes.
        LocationError: memory://, which would be lost when the command ends.
    """
    settings = chosen_settings(location, durability=durability, codec=codec)
    if settings.store == MEMORY:
        raise LocationError(f"{MEMORY}: lives in one process only; give a directory or s3://bucket/prefix")
    if not (writing or create):
        return Store.open(settings.store, catalog=settings.catalog, read_only=True)
    require_writing(settings)
    return settings.open_store(create=create)


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
