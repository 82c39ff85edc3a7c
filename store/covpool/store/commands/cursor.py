"""Cursor: a file in which a command that reads a whole store keeps how far it is, to go on from there."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from covpool.store.maintenance.verify import Problem
from covpool.store.storage.whole_files import write_whole

cursor_option = click.option(
    "--cursor",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep in this file how far it is; a run that was stopped goes on from there.",
)


def read_cursor(cursor: Path | None, location: str) -> dict[str, Any]:
    """`after`, `entries` and `problems` of the run that was stopped; those of a new one where there is none.

    Raises:
        click.UsageError: the file is something else, or that of another store.
    """
    if cursor is None or not cursor.is_file():
        return {"after": "", "entries": 0, "problems": []}
    try:
        found: dict[str, Any] = json.loads(cursor.read_text())
        mine = found["location"] == location
    except (ValueError, KeyError, TypeError) as error:
        raise click.UsageError(f"--cursor: {cursor} is not the cursor of such a run") from error
    if not mine:
        raise click.UsageError(f"--cursor: {cursor} is that of {found['location']}, not of {location}")
    return found


def write_cursor(
    cursor: Path | None, location: str, after: str, entries: int, problems: list[Problem]
) -> None:
    """Keep how far a run is."""
    if cursor is None:
        return
    state = {
        "location": location,
        "after": after,
        "entries": entries,
        "problems": [asdict(problem) for problem in problems],
    }
    write_whole(cursor, json.dumps(state).encode())
