"""Fit runner: a thread that claims waiting fits and gives each a process of its own."""

import logging
import os
import threading
import uuid

from covpool.service.fitting.fits import Fits
from covpool.service.processes.child import Child
from covpool.service.settings import Settings
from covpool.store.errors import StoreError

log = logging.getLogger(__name__)

#: Seconds between looks for a fit that waits.
POLL_S = 0.5


class FitRunner:
    """Runs one fit at a time while it is started.

    Args:
        fits: where they wait.
        settings: of the service.
    """

    def __init__(self, fits: Fits, settings: Settings) -> None:
        self._fits, self._settings = fits, settings
        self._stop = threading.Event()
        self._child: Child | None = None
        self._thread = threading.Thread(target=self._run, name="fits", daemon=True)

    def start(self) -> None:
        """Start looking."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; a fit under way is ended, and taken up again when its lease has run out."""
        self._stop.set()
        if self._child is not None:
            self._child.kill()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(POLL_S):
            worker = f"{os.uname().nodename}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
            try:
                fit = self._fits.claim(worker)
            except StoreError as error:
                log.warning("fits: %s", error)
                continue
            if fit is None:
                continue
            child = self._child = Child(
                "covpool.service.fitting.fitting", fit.name, worker, settings=self._settings
            )
            if self._stop.is_set():
                child.kill()
            child.wait()
            log.info("fit %s ended with %d", fit.name, child.close())
