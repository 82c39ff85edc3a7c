"""Errors of the client.

ClientError
├── UnreachableError (ConnectionError)   no answer from the service's address
├── ProblemError (ValueError)            the service refused, with a problem document (RFC 9457)
├── JobFailedError (RuntimeError)        a job ended with failed records, or was cancelled
└── JobTimeoutError (TimeoutError)       a job did not end in the time allowed
"""

from http import HTTPStatus

import numpy as np
from numpy.typing import NDArray

from covpool.service.schemas import Job


class ClientError(Exception):
    """Root of all errors raised by `covpool.clients`."""


class UnreachableError(ClientError, ConnectionError):
    """No answer from the service's address."""


class ProblemError(ClientError, ValueError):
    """The service refused a request.

    Attributes:
        status: HTTP status.
        title: kind of problem.
        detail: fault, place and remedy.
    """

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(f"{title}: {detail}")
        self.status = status
        self.title = title
        self.detail = detail


def was_lost(error: ProblemError) -> bool:
    """Whether a cached matrix was damaged: the same request, sent again, computes it."""
    return error.status == HTTPStatus.GONE


class JobFailedError(ClientError, RuntimeError):
    """A job ended with failed records, or was cancelled; the message names the first.

    Attributes:
        job: with every record, in the order of the request.
        failed: the records without a result; each has its reason in `error`.
        embeddings: for `Client.embed`, the array of its result with a row of NaN for each failed record;
            None if no record has a result, and for other calls.
    """

    def __init__(self, job: Job, embeddings: NDArray[np.float32] | None = None) -> None:
        self.job = job
        self.failed = [record for record in job.records if record.state != "done"]
        self.embeddings = embeddings
        first = self.failed[0]
        super().__init__(
            f"job {job.id}: {len(self.failed)} of {len(job.records)} records {job.state}, "
            f"first {first.name}: {first.error or first.state}"
        )


class JobTimeoutError(ClientError, TimeoutError):
    """A job did not end in the time allowed; it continues, and can be waited for again."""
