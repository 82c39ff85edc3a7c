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
from covpool.service.queue import Job

_LONGEST_PAUSE_S = 1.0

#: Longest `Retry-After` sent, in seconds: OpenAI's clients ignore a longer one and try again at once.
MOST_RETRY_AFTER_S = 60
#: `Retry-After` while no worker has reported its rate.
UNKNOWN_RETRY_AFTER_S = 15
#: Rates of past batches are slightly optimistic, and clients retry only a few times.
_MARGIN = 1.2


@dataclass(frozen=True)
class Preference:
    """What a request prefers.

    Attributes:
        wait_s: seconds to wait for the result; None where the request does not say.
        asynchronous: whether the client accepts a job as the answer at once.
        longest_s: longest wait that the service allows, in seconds.
    """

    wait_s: float | None
    asynchronous: bool
    longest_s: float

    @property
    def takes_a_job(self) -> bool:
        """Whether the client can follow a job that has not ended."""
        return self.asynchronous or self.wait_s is not None

    def seconds(self, default: float) -> float:
        """Seconds to wait for the result."""
        if self.wait_s is None:
            return 0.0 if self.asynchronous else min(default, self.longest_s)
        return min(self.wait_s, self.longest_s)

    def applied(self, response: Response) -> Response:
        """The answer, with a header that names the preferences applied."""
        applied = ["respond-async"] if self.asynchronous and response.status_code == 202 else []
        applied += [] if self.wait_s is None else [f"wait={int(self.seconds(0))}"]
        if applied:
            response.headers["Preference-Applied"] = ", ".join(applied)
        return response


def _preference(
    request: Request,
    context: Service,
    prefer: Annotated[
        str | None,
        Header(description="`wait=N`: up to N seconds for the result; `respond-async`: a job to follow"),
    ] = None,
) -> Preference:
    preferences: dict[str, str] = {}
    for part in ",".join(request.headers.getlist("prefer")).split(","):
        name, _, value = part.partition(";")[0].partition("=")
        # The first of several counts.
        preferences.setdefault(name.strip().lower(), value.strip().strip('"'))
    wait = preferences.get("wait", "")
    valid = wait.isascii() and wait.isdecimal()
    return Preference(
        float(wait[:9]) if valid else None, "respond-async" in preferences, context.settings.max_wait_s
    )


Preferred = Annotated[Preference, Depends(_preference)]


async def wait_for(context: Context, job: str, seconds: float) -> Job:
    """The job when it has ended, or its state after `seconds` or when the service stops."""
    deadline, pause, first = time.monotonic() + seconds, context.settings.poll_s, True
    while True:
        progress = await run_in_threadpool(context.queue.progress, job)
        if first:
            # Records cached at submission are done already.
            first, counts = False, progress.counts
            missing = counts.get("queued", 0) + counts.get("running", 0)
            context.metrics.looked_up("moments", hits=counts.get("done", 0), misses=missing)
        left = min(deadline - time.monotonic(), context.shutdown.left_s)
        if progress.ended or left <= 0:
            return await run_in_threadpool(context.queue.job, job)
        await asyncio.sleep(min(pause, left))
        # Hundreds of requests may wait, and each reads the database.
        pause = min(1.2 * pause, _LONGEST_PAUSE_S)


def not_ready(job: Job, context: Context) -> NotReadyError:
    """The error for a client that cannot follow a job: it says when to send the same request again."""
    progress = job.progress
    left_s = progress.eta_s(context.workers.tokens_per_s())
    again_s = UNKNOWN_RETRY_AFTER_S if left_s is None else min(1 + _MARGIN * left_s, MOST_RETRY_AFTER_S)
    again = math.ceil(again_s)
    done, records = progress.counts.get("done", 0), len(job.records)
    progress_text = f"{done:,} of {records:,} sequences are computed" + (
        "" if left_s is None else f", about {math.ceil(left_s):,} s are left"
    )
    no_worker = "" if context.workers.present() else "no worker is heard of: start one (covpool worker); "
    return NotReadyError(
        f"{progress_text}; {no_worker}the work goes on: send the same request again in {again} s, or send "
        f"'Prefer: respond-async' for a job to follow, which here is /v1/jobs/{job.id}",
        job.id,
        again,
    )
