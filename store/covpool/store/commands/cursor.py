"""Cursor: a file with the progress of a command that reads a whole store, to resume it."""

import json
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict
from pathlib import Path

import click

from covpool.store.maintenance.verify import Checked, Problem
from covpool.store.storage.whole_files import write_whole

#: Seconds between two times that the file is written.
_KEEP_S = 1.0

cursor_option = click.option(
    "--cursor",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep in this file how far it is; a run that was stopped goes on from there.",
)


class Cursor:
    """Progress and problems of a run over a store; saved in a file, if there is one.

    Args:
        file: of this run; a run that was stopped resumes from it.
        location: of the store.

    Raises:
        click.UsageError: the file is no cursor, or that of another store.
    """

    def __init__(self, file: Path | None, location: str) -> None:
        self._file, self._location = file, location
        #: The last key that was read, and how many were.
        self.after, self.entries = "", 0
        self.problems: list[Problem] = []
        if file is None or not file.is_file():
            return
        try:
            state = json.loads(file.read_text())
            of, self.after, self.entries = state["location"], state["after"], state["entries"]
            self.problems = [Problem(**problem) for problem in state["problems"]]
        except (ValueError, KeyError, TypeError) as error:
            raise click.UsageError(f"--cursor: {file} is not the cursor of such a run") from error
        if of != location:
            raise click.UsageError(f"--cursor: {file} is that of {of}, not of {location}")

    def keep(self) -> None:
        """Write the file."""
        if self._file is not None:
            state = {
                "location": self._location,
                "after": self.after,
                "entries": self.entries,
                "problems": [asdict(problem) for problem in self.problems],
            }
            write_whole(self._file, json.dumps(state).encode())

    def end(self) -> None:
        """The run is complete: delete the file."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def follow(
        self, steps: Iterable[Checked], total: int, progress: Callable[[int, int], None], as_json: bool
    ) -> None:
        """Run all steps; report their problems, and save the progress from time to time."""
        before, kept = self.entries, time.monotonic()
        try:
            for step in steps:
                self.after, self.entries = step.after, before + step.entries
                self.problems += step.problems
                tell(step.problems, as_json)
                progress(self.entries, total)
                if time.monotonic() > kept + _KEEP_S:
                    kept = time.monotonic()
                    self.keep()
        finally:
            self.keep()


def tell(problems: Iterable[Problem], as_json: bool) -> None:
    """Name each problem on a line of its own."""
    for problem in problems:
        click.echo(json.dumps(asdict(problem)) if as_json else problem.message)


def counted(problems: Collection[Problem], *, repair: bool = True) -> str:
    """The number of problems, and with `repair` how many of them were repaired."""
    repaired = f", {sum(problem.healed for problem in problems):,} of them repaired" if repair else ""
    return f"{len(problems):,} problem(s){repaired}"
