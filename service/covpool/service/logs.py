"""Logs: a line or a JSON object per event on standard error, with the request's id and never a sequence.

The id names a request in the answer, in problem documents and in every line of the log.
"""

import logging
import re
import uuid
from contextvars import ContextVar

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from covpool.service.settings import Settings

_TEXT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s]: %(message)s"
#: So many letters of a sequence in a row are a sequence, whoever wrote them into a message.
_BASES = re.compile(r"[ACGTUNacgtun]{30,}")

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


class Lines(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes records to standard error; runs of bases are left out of messages and traces alike."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of text or JSON."""
        return _BASES.sub(lambda match: f"<{len(match.group())} bases>", super().format(record))


def configure(settings: Settings) -> None:
    """Log to standard error as the settings say, in place of whatever was configured before."""
    handler = Lines()
    handler.addFilter(RequestIds())
    handler.setFormatter(
        JsonFormatter(
            ["levelname", "name", "message", "request_id"],
            rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
            # Uvicorn's: the message once more, with colours.
            reserved_attrs=[*RESERVED_ATTRS, "color_message"],
            timestamp="time",
        )
        if settings.log_format == "json"
        else logging.Formatter(_TEXT)
    )
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
