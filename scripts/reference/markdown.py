"""Markdown of the reference pages: a table, a cell, a sentence."""

import inspect
import re
from collections.abc import Iterable, Sequence


def head(title: str, text: str) -> str:
    """The top of a page that is written by a script."""
    return f"# {title}\n\n<!-- Written by scripts/document.py from the code; do not edit. -->\n\n{text}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a bar inside a cell does not end it."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines) + "\n"


def code(text: str) -> str:
    """Text as code; nothing for nothing."""
    return f"`{text}`" if text else ""


def summary(documented: object) -> str:
    """The first paragraph of a docstring, on one line."""
    return paragraph(inspect.getdoc(documented) or "")


def paragraph(text: str) -> str:
    """The first paragraph of a text, on one line."""
    return " ".join(inspect.cleandoc(text).split("\n\n")[0].split())


def _cell(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text).replace("|", "\\|")
