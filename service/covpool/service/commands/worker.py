"""Run a worker that extracts what the service queued."""

import os

import click

from covpool.service.errors import SettingsError
from covpool.service.queue import Queue
from covpool.service.settings import Settings
from covpool.service.worker.loop import main
from covpool.store.catalog import Catalog
from covpool.store.engines import open_engine
from covpool.store.locations import catalog_url


@click.command
@click.option("--check", is_flag=True, help="Run none; fail unless one of this host was heard of lately.")
def worker(check: bool) -> None:
    """Run one worker until SIGTERM.

    Settings come from COVPOOL_STORE, COVPOOL_DEVICE and so on, or the file that COVPOOL_CONFIG names.

    Example: COVPOOL_STORE=genes.covpool covpool worker
    """
    try:
        settings = Settings.read()
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    if not check:
        main()
        return
    host = os.uname().nodename
    engine = open_engine(catalog_url(settings.store, settings.catalog))
    try:
        heard = Queue(Catalog(engine, settings.store), lease_s=settings.lease_s).workers()
    finally:
        engine.dispose()
    if not any(one.name.startswith(f"{host}-") for one in heard):
        raise click.ClickException(
            f"no worker of {host} was heard of for {settings.lease_s:g} s; see its log, and whether it "
            "reaches the database"
        )
    click.echo(f"a worker of {host} was heard of")
