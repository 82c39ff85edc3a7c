"""Options that several commands share, and checks of the files that a command will write."""

import json
import os
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from covpool.extractor.models.options import DTYPES
from covpool.service.assemblies.contig_names import ContigNames
from covpool.store.storage.whole_files import DURABILITIES

F = TypeVar("F", bound=Callable[..., Any])

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """One decorator of several options, in the order in which the help lists them."""

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


store_option = click.option("--store", help="Directory of the store; COVPOOL_STORE, or covpool-store.")
#: Of new entries, for `stores.chosen_settings`.
writing_options = together(
    click.option(
        "--codec",
        metavar="NAME",
        help="lossless, cold or bounded:1e-4, for new matrices; COVPOOL_CODEC, or lossless.",
    ),
    click.option(
        "--durability",
        type=click.Choice(DURABILITIES),
        help="process, or power-loss to force each matrix to the disk; COVPOOL_DURABILITY, or process.",
    ),
)

model_option = click.option(
    "--model", default="ntv3-mini", show_default=True, help="Bundled name, directory or hub id."
)
device_option = click.option("--device", help="Torch device; CUDA where there is one.")
#: What makes a recipe, with model and layers.
recipe_options = together(
    click.option(
        "--strand",
        type=click.Choice(["+", "-", "both"]),
        default="+",
        show_default=True,
        help="As given, its reverse complement, or both.",
    ),
    click.option("--species", default="", help="For a model that is conditioned on one."),
    click.option(
        "--dtype",
        type=click.Choice(DTYPES),
        default="float32",
        show_default=True,
        help="Compute dtype; part of the key.",
    ),
)
#: Which cached moments a command reads, for `training_set.only_recipe`.
cached_options = together(
    click.option("--model", help="Where the store has several."),
    click.option("--layer", help="Where the store has several."),
    click.option("--selection", help="Where the store has several (whole, CDS, …); whole when omitted."),
)

strict_option = click.option(
    "--strict", is_flag=True, help="Refuse an annotation with anything to repair or skip."
)
_contig_options: Callable[[F], F] = together(
    click.option(
        "--alias",
        "aliases",
        multiple=True,
        metavar="OTHER=CONTIG",
        help="A further name of a contig of the FASTA file; repeatable.",
    ),
    click.option("--aliases", "alias_table", type=FILE, help="The same as a table with a contig a row."),
    click.option("--circular", multiple=True, metavar="CONTIG", help="Is circular; repeatable."),
)


def contig_options(command: F) -> F:
    """--alias, --aliases and --circular; the command is handed them as `contig_names`."""

    @wraps(command)
    def called(
        *, aliases: tuple[str, ...], alias_table: Path | None, circular: tuple[str, ...], **others: Any
    ) -> Any:
        pairs = [alias.partition("=") for alias in aliases]
        if any(not (other and contig) for other, _, contig in pairs):
            raise click.UsageError("--alias is written OTHER=CONTIG")
        further = {other: contig for other, _, contig in pairs}
        return command(contig_names=ContigNames(further, alias_table, circular), **others)

    return _contig_options(called)  # type: ignore[return-value]


def json_option(what: str) -> Callable[[F], F]:
    """--json, whose help says what is written."""
    return click.option("--json", "as_json", is_flag=True, help=what)


def write_row(row: Mapping[str, object], as_json: bool) -> None:
    """Write a line of results: a JSON object, or values between tabs."""
    click.echo(json.dumps(row) if as_json else "\t".join(map(str, row.values())))


def check_output(path: Path, option: str, *suffixes: str) -> None:
    """Refuse a path that cannot be written, or whose suffix does not match its format.

    Raises:
        click.UsageError: with the remedy.
    """
    if path.suffix not in suffixes:
        raise click.UsageError(f"{option}: {path} must end in {', '.join(suffixes)}")
    if not path.absolute().parent.is_dir():
        raise click.UsageError(f"{option}: there is no directory {path.parent}; make it first")
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise click.UsageError(f"{option}: {path} may not be written; choose another place")


def check_plot(path: Path | None) -> None:
    """Refuse an image that cannot be drawn; None is no image.

    Raises:
        click.UsageError: its format is unknown, or it cannot be written.
        click.ClickException: matplotlib is not installed.
    """
    if path is None:
        return
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as error:
        raise click.ClickException("--plot needs matplotlib: pip install 'covpool[plots]'") from error
    check_output(path, "--plot", *(f".{name}" for name in sorted(FigureCanvasBase.get_supported_filetypes())))
