"""Talk to a covpool service: Python client and command line (no torch, no zarr)."""

from covpool.clients.arrays import FetchedMoments as FetchedMoments
from covpool.clients.client import Client as Client
from covpool.clients.errors import ClientError as ClientError
from covpool.clients.errors import JobFailedError as JobFailedError
from covpool.clients.errors import JobTimeoutError as JobTimeoutError
from covpool.clients.errors import ProblemError as ProblemError
from covpool.clients.errors import UnreachableError as UnreachableError

__all__ = [
    "Client",
    "ClientError",
    "FetchedMoments",
    "JobFailedError",
    "JobTimeoutError",
    "ProblemError",
    "UnreachableError",
]
