"""Look after a store: ls, verify, scrub, backup, restore, rebuild, compact, gc, export, migrate."""

import click

from covpool.store.commands.backup import backup, restore
from covpool.store.commands.compact import compact
from covpool.store.commands.export import export
from covpool.store.commands.gc import gc
from covpool.store.commands.ls import ls
from covpool.store.commands.migrate import migrate
from covpool.store.commands.rebuild import rebuild
from covpool.store.commands.scrub import scrub
from covpool.store.commands.verify import verify


@click.group
def store() -> None:
    """Look after a store.

    Example: covpool store verify genes.covpool
    """


for command in (ls, verify, scrub, backup, restore, rebuild, compact, gc, export, migrate):
    store.add_command(command)
