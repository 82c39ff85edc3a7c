"""Run a worker that extracts what the service queued."""

import os

import click

from covpool.service.commands.stores import chosen_settings, open_store, require_writing
from covpool.service.queue import Workers
from covpool.service.worker.worker import main


@click.command
@click.option("--check", is_flag=True, help="Start no worker; fail unless one of this host reported lately.")
def worker(check: bool) -> None:
    """Run one worker until SIGTERM.

    Settings come from COVPOOL_STORE, COVPOOL_DEVICE and so on, or the file that COVPOOL_CONFIG names.

    Example: COVPOOL_STORE=genes.covpool covpool worker
    """
    settings = chosen_settings()
    if not check:
        require_writing(settings)
        main()
        return
    host = os.uname().nodename
    with open_store(None) as store:
        present = Workers(store.database, lease_s=settings.lease_s).present()
    if not any(state.name.startswith(f"{host}-") for state in present):
        raise click.ClickException(
            f"no worker of {host} was heard of for {settings.lease_s:g} s; see its log, and whether it "
            "reaches the database"
        )
    click.echo(f"a worker of {host} was heard of")
