"""The `covpool` command: one command per file, found through the entry-point group `covpool.commands`.

Listing commands imports none of them, so that `covpool --help` is quick in every install.
"""

import ast
import os
import sys
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

import click

GROUP = "covpool.commands"

#: Extras of a command, or of all commands of a room, if the name is not that of the room.
EXTRAS = {"evaluate": "evaluation", "service": "service,extractor"}

OK, FAILED, WRONG_USE = 0, 1, 2


class CommandGroup(click.Group):
    """A click group whose commands are entry points, loaded when one is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all installed commands."""
        return sorted(entry_points(group=GROUP).names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command; a missing extra gives an error with its install line."""
        for entry_point in entry_points(group=GROUP, name=cmd_name):
            return _load(entry_point)
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with the first line of their modules, which are read but not imported."""
        rows = [(name, _summary(entry_points(group=GROUP)[name])) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="covpool")
def covpool() -> None:
    """Second moments of genomic foundation model activations: extract, cache, serve, embed.

    Start with: covpool serve --store genes.covpool
    """


def main() -> None:
    """Run the command line; exit code 0 (ok), 1 (failed) or 2 (wrong use)."""
    # Before any command loads torch: idle compute threads sleep instead of spinning, which on a shared
    # machine made small tensors more than thirty times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        code = covpool.main(standalone_mode=False)
    except click.UsageError as error:
        error.show()
        sys.exit(WRONG_USE)
    except click.ClickException as error:
        error.show()
        sys.exit(FAILED)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        sys.exit(FAILED)
    except Exception as error:
        message = _message(error)
        if message is None:
            raise
        click.echo(f"Error: {message}", err=True)
        sys.exit(FAILED)
    sys.exit(code if isinstance(code, int) else OK)


def _message(error: Exception) -> str | None:
    """The message of an error; None for a bug, which shows its traceback."""
    # Messages of covpool's errors have the fault, the place and the remedy.
    if type(error).__module__.startswith("covpool."):
        return str(error)
    # A file that cannot be read or written, or a full disk.
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return None


def _load(entry_point: EntryPoint) -> click.Command:
    room = entry_point.module.split(".")[1]
    try:
        command = entry_point.load()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("covpool"):
            raise
        extras = EXTRAS.get(entry_point.name) or EXTRAS.get(room) or room
        raise click.ClickException(
            f"'covpool {entry_point.name}' needs {error.name}: pip install 'covpool[{extras}]'"
        ) from error
    assert isinstance(command, click.Command)
    return command


def _summary(entry_point: EntryPoint) -> str:
    spec = find_spec(entry_point.module)
    if spec is None or spec.origin is None:
        return ""
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return text.split("\n")[0]
