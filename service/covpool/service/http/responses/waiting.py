"""Waiting for a job within a request, as far as the client prefers and the service allows (RFC 7240)."""

import asyncio
import math
import time
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from covpool.service.errors import NotReadyError
from covpool.service.http.context import Context, Service
from covpool.service.queue import Job, Progress

_LONGEST_PAUSE_S = 1.0

#: The longest that a client is told to stay away: OpenAI's take no more for an answer, and come at once.
MOST_RETRY_AFTER_S = 60
#: What it is told while no worker has said how fast it is.
UNKNOWN_RETRY_AFTER_S = 15
#: Rates of past batches promise a little too much, and clients come again only a few times.
_MARGIN = 1.2


@dataclass(frozen=True)
class Preference:
    """What a request prefers.

    Attributes:
        wait_s: seconds to wait for the result; None where it does not say.
        asynchronous: whether it takes a job for an answer as soon as that is there.
        longest_s: the service waits no longer.
    """

    wait_s: float | None
    asynchronous: bool
    longest_s: float

    @property
    def takes_a_job(self) -> bool:
        """Whether it knows what to do with a job that has not ended."""
        return self.asynchronous or self.wait_s is not None

    def seconds(self, default: float) -> float:
        """How long to wait for the result."""
        if self.wait_s is None:
            return 0.0 if self.asynchronous else min(default, self.longest_s)
        return min(self.wait_s, self.longest_s)

    def applied(self, response: Response) -> Response:
        """The answer, which tells what of the preferences was honoured."""
        told = ["respond-async"] if self.asynchronous and response.status_code == 202 else []
        told += [] if self.wait_s is None else [f"wait={int(self.seconds(0))}"]
        if told:
            response.headers["Preference-Applied"] = ", ".join(told)
        return response


def _preference(
    request: Request,
    context: Service,
    prefer: Annotated[
        str | None,
        Header(description="`wait=N`: up to N seconds for the result; `respond-async`: a job to follow"),
    ] = None,
) -> Preference:
    found: dict[str, str] = {}
    for part in ",".join(request.headers.getlist("prefer")).split(","):
        name, _, value = part.partition(";")[0].partition("=")
        # The first of several counts.
        found.setdefault(name.strip().lower(), value.strip().strip('"'))
    wait = found.get("wait", "")
    known = wait.isascii() and wait.isdecimal()
    return Preference(
        float(wait[:9]) if known else None, "respond-async" in found, context.settings.max_wait_s
    )


Preferred = Annotated[Preference, Depends(_preference)]


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


def not_ready(job: Job, context: Context) -> NotReadyError:
    """What to answer a client that cannot follow a job: when to send the same request again."""
    progress = job.progress
    left_s = progress.eta_s(context.workers.tokens_per_s())
    again_s = UNKNOWN_RETRY_AFTER_S if left_s is None else min(1 + _MARGIN * left_s, MOST_RETRY_AFTER_S)
    again = math.ceil(again_s)
    done, records = progress.counts.get("done", 0), len(job.records)
    told = f"{done:,} of {records:,} sequences are computed" + (
        "" if left_s is None else f", about {math.ceil(left_s):,} s are left"
    )
    alone = "" if context.workers.present() else "no worker is heard of: start one (covpool worker); "
    return NotReadyError(
        f"{told}; {alone}the work goes on: send the same request again in {again} s, or send "
        f"'Prefer: respond-async' for a job to follow, which here is /v1/jobs/{job.id}",
        job.id,
        again,
    )
