"""Errors of the service.

ServiceError
├── JobNotFoundError (LookupError)     no job of that id
├── LeaseLostError (RuntimeError)      a worker ended a task that is no longer its own
└── RequestError (ValueError)          a request that is well-formed but cannot be served as asked
"""


class ServiceError(Exception):
    """Root of all errors raised by `covpool.service`."""


class JobNotFoundError(ServiceError, LookupError):
    """No job of that id."""


class LeaseLostError(ServiceError, RuntimeError):
    """A task that was cancelled, or taken over by another worker."""


class RequestError(ServiceError, ValueError):
    """A request that cannot be served as asked; the message says what to change."""
