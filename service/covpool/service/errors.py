"""Errors of the service.

ServiceError
├── JobNotFoundError (LookupError)     no job of that id
├── LeaseLostError (RuntimeError)      a worker ended a task that is no longer its own
├── GenomeNotFoundError (LookupError)  no genome, contig or gene of that name
├── GenomeUnavailableError (OSError)   a genome's file is gone, or no longer what was registered
├── QueueFullError (OverflowError)     more work is waiting than the service takes on
├── NotReadyError (TimeoutError)       a result that is still being computed
├── MatrixLostError (LookupError)     a cached matrix was damaged, and is no more
├── BulkError (RuntimeError)           the workers of a bulk run, or their scheduler, are lost
├── SettingsError (ValueError)         a setting that cannot be
└── RequestError (ValueError)          a request that is well-formed but cannot be served as asked
"""


class ServiceError(Exception):
    """Root of all errors raised by `covpool.service`."""


class SettingsError(ServiceError, ValueError):
    """A setting is unknown or impossible, or the file of settings cannot be read."""


class MatrixLostError(ServiceError, LookupError):
    """A cached matrix did not read back; its row was retired, and its key is free to be computed again."""


class BulkError(ServiceError, RuntimeError):
    """The workers of a bulk run cannot be reached, or are lost."""


class JobNotFoundError(ServiceError, LookupError):
    """No job of that id."""


class LeaseLostError(ServiceError, RuntimeError):
    """A task that was cancelled, or taken over by another worker."""


class GenomeNotFoundError(ServiceError, LookupError):
    """No genome, contig or gene of that name."""


class GenomeUnavailableError(ServiceError, OSError):
    """A genome's file is gone, or no longer what was registered."""


class QueueFullError(ServiceError, OverflowError):
    """More work is waiting than the service takes on.

    Attributes:
        retry_after_s: when to come again.
    """

    retry_after_s = 30


class NotReadyError(ServiceError, TimeoutError):
    """What was asked for is still being computed.

    Attributes:
        job: that computes it.
        retry_after_s: when to come again.
    """

    def __init__(self, message: str, job: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.job = job
        self.retry_after_s = retry_after_s


class RequestError(ServiceError, ValueError):
    """A request that cannot be served as asked; the message says what to change."""
