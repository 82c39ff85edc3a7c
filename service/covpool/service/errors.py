"""Errors of the service.

ServiceError
├── JobNotFoundError (LookupError)     no job of that id
├── RequestError (ValueError)          a request that is well-formed but cannot be served as asked
└── WorkerError (RuntimeError)         a task failed in a way that more attempts may mend
"""


class ServiceError(Exception):
    """Root of all errors raised by `covpool.service`."""


class JobNotFoundError(ServiceError, LookupError):
    """No job of that id."""


class RequestError(ServiceError, ValueError):
    """A request that cannot be served as asked; the message says what to change."""


class WorkerError(ServiceError, RuntimeError):
    """A task could not be run now."""
