"""Request ids: one name for a request in the answer, in problem documents and in every line of the log."""

import logging
import re
import uuid
from contextvars import ContextVar

#: Of the request being served; "-" outside of one.
request_id: ContextVar[str] = ContextVar("request_id", default="-")

_GIVEN = re.compile(r"[A-Za-z0-9._-]{1,64}")


def choose(given: str | None) -> str:
    """The caller's id when it is harmless text, else a new one."""
    return given if given is not None and _GIVEN.fullmatch(given) else uuid.uuid4().hex


class RequestIds(logging.Filter):
    """Gives log records the attribute `request_id`."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the id; every record passes."""
        record.request_id = request_id.get()
        return True
