"""Options and output that the client's commands share."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from covpool.clients.client import DEFAULT_URL, Client
from covpool.clients.errors import JobFailedError
from covpool.clients.inputs import Input
from covpool.service.schemas import Job

F = TypeVar("F", bound=Callable[..., object])


def service_options(command: F) -> F:
    """--url and --token of the service to talk to."""
    command = click.option(
        "--token", envvar="COVPOOL_TOKEN", help="Bearer token, if the service requires one."
    )(command)
    return click.option(
        "--url", envvar="COVPOOL_URL", default=DEFAULT_URL, show_default=True, help="The service's address."
    )(command)


def extraction_options(command: F) -> F:
    """Options of the computation; the command passes them to `Client.submit`."""
    for option in reversed(
        (
            click.option("--model", help="A name from `covpool models`; the default model if omitted."),
            click.option("--layer", help="A layer of the model; its default layer if omitted."),
            click.option(
                "--strand",
                type=click.Choice(["+", "-", "both"]),
                default="+",
                show_default=True,
                help="As given, its reverse complement, or both.",
            ),
            click.option(
                "--skip-tokens", type=click.IntRange(0), default=0, help="Tokens to leave out first."
            ),
            click.option("--species", help="For a model with a species condition."),
            click.option("--beyond-context", is_flag=True, help="Accept sequences longer than documented."),
        )
    ):
        command = option(command)
    return command


def fasta_argument(command: F) -> F:
    """FASTA: a file, a pipe, or - for standard input; the command gets an input of `Client`."""
    return click.argument(
        "fasta", type=click.Path(exists=True, dir_okay=False, allow_dash=True), callback=_input
    )(command)


def _input(context: click.Context, parameter: click.Parameter, value: str) -> Input:
    return sys.stdin.buffer if value == "-" else Path(value)


def check_output(path: Path, *suffixes: str) -> None:
    """Refuse an unusable output path before any work is done."""
    if path.suffix not in suffixes:
        raise click.UsageError(f"--out must end in {' or '.join(suffixes)}, not {path.suffix!r}")
    if not path.parent.is_dir():
        raise click.UsageError(f"--out: there is no directory {path.parent}; make it first")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise click.UsageError(f"--out: {path} cannot be written; choose another path")


def ended(client: Client, job: Job | str) -> Job:
    """Wait for a job and show its progress; return it when it has ended, also if it failed."""
    with progress_of(Console(stderr=True, markup=False, highlight=False)) as progress:
        try:
            return client.wait(job, progress=progress)
        except JobFailedError as error:
            return error.job


@contextmanager
def progress_of(console: Console) -> Iterator[Callable[[Job], None]]:
    """A callback that shows a job's progress: a bar on a terminal, a line per step elsewhere."""
    if not console.is_terminal:
        shown = (-1, "")

        def lines(job: Job) -> None:
            nonlocal shown
            step = 10 * job.tokens_done // max(1, job.tokens), job.state
            if step != shown:
                shown = step
                console.print(
                    f"{job.state}: {sequences(job)}, {job.tokens_done:,} of {job.tokens:,} tokens",
                    highlight=False,
                )

        yield lines
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("tokens")
        yield lambda job: bar.update(
            task, completed=job.tokens_done, total=job.tokens, description=f"{sequences(job)}, tokens"
        )


def sequences(job: Job) -> str:
    """Number of a job's sequences that are done and that failed."""
    failed = f", {job.records_failed:,} failed" if job.records_failed else ""
    return f"{job.records_done:,} of {job.records_total:,} sequences{failed}"


def show_failed(job: Job) -> None:
    """Report the failed or cancelled records of a job on standard error."""
    for record in job.records:
        if record.state not in ("done", "queued", "running"):
            click.echo(f"Failed: {record.name}: {record.error or record.state}", err=True)
