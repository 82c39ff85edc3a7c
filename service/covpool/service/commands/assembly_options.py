"""Assembly options: contig names and circular contigs, for commands that read FASTA and annotation."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from covpool.service.assemblies.contig_names import ContigNames

F = TypeVar("F", bound=Callable[..., Any])


def contig_options(command: F) -> F:
    """--alias, --aliases and --circular; the command is handed them as `contig_names`."""

    @wraps(command)
    def called(
        *, aliases: tuple[str, ...], alias_table: Path | None, circular: tuple[str, ...], **others: Any
    ) -> Any:
        return command(contig_names=ContigNames(_pairs(aliases), alias_table, circular), **others)

    decorated: Any = called
    for option in (
        click.option("--circular", multiple=True, metavar="CONTIG", help="Is circular; repeatable."),
        click.option(
            "--aliases",
            "alias_table",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="The same as a table with a contig a row.",
        ),
        click.option(
            "--alias",
            "aliases",
            multiple=True,
            metavar="OTHER=CONTIG",
            help="A further name of a contig of the FASTA file; repeatable.",
        ),
    ):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def _pairs(aliases: tuple[str, ...]) -> dict[str, str]:
    """Contig by other name.

    Raises:
        click.UsageError: one is not written OTHER=CONTIG.
    """
    pairs = [alias.partition("=") for alias in aliases]
    if any(not (other and contig) for other, _, contig in pairs):
        raise click.UsageError("--alias is written OTHER=CONTIG")
    return {other: contig for other, _, contig in pairs}
