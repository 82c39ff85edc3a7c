"""Fit runner: a thread that claims waiting fits and gives each a process of its own."""

import logging
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping

from covpool.service.fitting.fits import Fits
from covpool.store.errors import StoreError

log = logging.getLogger(__name__)

#: Seconds between looks for a fit that waits.
POLL_S = 0.5


class FitRunner:
    """Runs one fit at a time while it is started.

    Args:
        fits: where they wait.
        environment: of the process that fits: the service's settings as variables.
    """

    def __init__(self, fits: Fits, environment: Mapping[str, str]) -> None:
        self._fits, self._environment = fits, dict(environment)
        self._stop = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="fits", daemon=True)

    def start(self) -> None:
        """Start looking."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; a fit under way is ended, and taken up again when its lease has run out."""
        self._stop.set()
        if self._process is not None:
            self._process.kill()
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
            command = [sys.executable, "-m", "covpool.service.fitting.fitting", fit.name, worker]
            self._process = subprocess.Popen(command, env=self._environment, start_new_session=True)
            if self._stop.is_set():
                self._process.kill()
            code = self._process.wait()
            log.info("fit %s ended with %d", fit.name, code)
