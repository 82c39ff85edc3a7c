"""Bring the tables of a store's database to the revision this covpool needs."""

import json

import click

from covpool.store.catalog.rooms import rooms
from covpool.store.commands.options import store_options
from covpool.store.database.database import Database
from covpool.store.existence import require_catalog, require_catalog_file, require_place
from covpool.store.storage.locations import catalog_url


@click.command
@store_options()
@click.option("--json", "as_json", is_flag=True, help="One JSON object per room on standard output.")
def migrate(location: str, catalog: str | None, as_json: bool) -> None:
    """Bring the tables of a store to the revision this covpool needs.

    Each room's tables change in one transaction: wholly, or not at all. Make a backup of the database before.

    Example: covpool store migrate --store genes.covpool
    """
    if catalog is None:
        require_place(location)
    else:
        require_catalog_file(catalog)
    database = Database.open(catalog_url(location, catalog))
    try:
        require_catalog(database, location)
        for room, tables in rooms().items():
            before, after = tables.migrate(database)
            if as_json:
                click.echo(json.dumps({"room": room, "before": before, "after": after}))
            elif before is None:
                click.echo(f"{room}: no tables")
            else:
                click.echo(f"{room}: {before}" if before == after else f"{room}: {before} -> {after}")
    finally:
        database.close()
