"""Look after a store: ls, verify, scrub, backup, restore, rebuild, compact, gc, export, migrate."""

import click

from covpool.store.commands.backup import backup, restore
from covpool.store.commands.catalog import migrate, rebuild
from covpool.store.commands.entries import export, ls
from covpool.store.commands.space import compact, gc
from covpool.store.commands.verify import scrub, verify


@click.group
def store() -> None:
    """Look after a store.

    Example: covpool store verify genes.covpool
    """


for command in (ls, verify, scrub, backup, restore, rebuild, compact, gc, export, migrate):
    store.add_command(command)
