"""Errors of the client.

ClientError
├── UnreachableError (ConnectionError)   nothing answers at the service's address
├── ProblemError (ValueError)            the service refused, with a problem document (RFC 9457)
├── JobFailedError (RuntimeError)        a job ended with failed records
└── JobTimeoutError (TimeoutError)       a job did not end in the time allowed
"""


class ClientError(Exception):
    """Root of all errors raised by `covpool.clients`."""


class UnreachableError(ClientError, ConnectionError):
    """Nothing answers at the service's address."""


class ProblemError(ClientError, ValueError):
    """The service refused a request.

    Attributes:
        status: HTTP status.
        title: what kind of problem it is.
        detail: what went wrong, where, and what to do.
    """

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(f"{title}: {detail}")
        self.status = status
        self.title = title
        self.detail = detail


class JobFailedError(ClientError, RuntimeError):
    """A job ended with failed records; the message names the first."""


class JobTimeoutError(ClientError, TimeoutError):
    """A job did not end in the time allowed; it goes on, and can be waited for again."""
