"""Run a worker that extracts what the service queued."""

import logging

import click

from covpool.service.worker.loop import main


@click.command
def worker() -> None:
    """Run one worker until SIGTERM; settings come from COVPOOL_STORE, COVPOOL_DEVICE and so on.

    Example: COVPOOL_STORE=genes.covpool covpool worker
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    main()
