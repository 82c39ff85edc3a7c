"""Waiting for a job within a request, as far as the client prefers and the service allows (RFC 7240)."""

import asyncio
import re
import time

from starlette.concurrency import run_in_threadpool

from covpool.service.context import Context
from covpool.service.queue import Job, Progress

_LONGEST_PAUSE_S = 1.0

_WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?:,|;|$)", re.IGNORECASE)


def preferred_wait(prefer: str | None, context: Context, default: float) -> float:
    """Seconds of `Prefer: wait=N`, at most the service's limit; `default` without one."""
    found = _WAIT.search(prefer or "")
    return min(float(found.group(1)) if found else default, context.settings.max_wait_s)


def _count(context: Context, progress: Progress) -> None:
    found = progress.counts.get("done", 0)
    missing = progress.counts.get("queued", 0) + progress.counts.get("running", 0)
    context.metrics.looked_up("moments", hits=found, misses=missing)


async def wait_for(context: Context, job: str, seconds: float) -> Job:
    """The job as soon as it has ended, or as it stands after so many seconds, or when the service stops."""
    deadline, pause, first = time.monotonic() + seconds, context.settings.poll_s, True
    while True:
        progress = await run_in_threadpool(context.queue.progress, job)
        if first:
            # What was cached when it was submitted is done already.
            first = False
            _count(context, progress)
        left = min(deadline - time.monotonic(), context.shutdown.left_s)
        if progress.ended or left <= 0:
            return await run_in_threadpool(context.queue.job, job)
        await asyncio.sleep(min(pause, left))
        # Hundreds may wait, and each asks the database.
        pause = min(1.2 * pause, _LONGEST_PAUSE_S)
