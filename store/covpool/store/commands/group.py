"""Look after a store: migrate."""

import click

from covpool.store.commands.migrate import migrate


@click.group
def store() -> None:
    """Look after a store.

    Example: covpool store migrate genes.covpool
    """


store.add_command(migrate)
