"""Run a worker that extracts what the service queued."""

import click

from covpool.service.worker.loop import main


@click.command
def worker() -> None:
    """Run one worker until SIGTERM; settings come from COVPOOL_STORE, COVPOOL_DEVICE and so on, or the file
    that COVPOOL_CONFIG names.

    Example: COVPOOL_STORE=genes.covpool covpool worker
    """
    main()
