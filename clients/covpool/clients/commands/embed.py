"""Embed a FASTA file, through a running service."""

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from covpool.clients.arrays import decode_embeddings
from covpool.clients.client import Client
from covpool.clients.commands.options import (
    check_output,
    ended,
    extraction_options,
    fasta_argument,
    service_options,
    show_failed,
)
from covpool.clients.errors import ProblemError, was_lost
from covpool.clients.inputs import Input, can_be_read_again

#: Number of values of an embedding in a line.
_SHOWN = 4


@click.command
@fasta_argument
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write names, keys and embeddings (.npz)."
)
@click.option(
    "--pooling",
    default="bottleneck",
    help="A name from /v1/bottlenecks, a plain kind (mean, covariance, root, …), or several joined with +; "
    "the model's default bottleneck if omitted.",
)
@click.option("--bottleneck", hidden=True, help="Deprecated spelling of --pooling.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per sequence on standard output.")
@extraction_options
@service_options
def embed(
    fasta: Input,
    out: Path | None,
    pooling: str,
    bottleneck: str | None,
    as_json: bool,
    url: str,
    token: str | None,
    **extraction: Any,
) -> None:
    """Embed every sequence of FASTA (plain or compressed; - is standard input).

    A record that cannot be embedded is reported on standard error, and the exit code is 1; the others
    are embedded.

    Example: covpool embed genes.fa --out genes.npz
    """
    console = Console(stderr=True, markup=False, highlight=False)
    if out is not None:
        check_output(out, ".npz")
    with Client(url, token) as client:
        while True:
            job = client.submit(
                fasta, pooling=pooling, bottleneck=bottleneck, priority="interactive", **extraction
            )
            job = ended(client, job)
            show_failed(job)
            if not job.records_done:
                raise click.exceptions.Exit(1)
            try:
                answer = client.embeddings(job, pooling=pooling, bottleneck=bottleneck, skip_failed=True)
                break
            except ProblemError as error:
                if not (was_lost(error) and can_be_read_again(fasta)):
                    raise
                console.print(f"Notice: {error}")
    embeddings = decode_embeddings(answer.data)
    names, keys = [item.name for item in answer.data], [item.key for item in answer.data]
    if out is not None:
        np.savez(out, names=np.array(names), keys=np.array(keys), embeddings=embeddings)
        console.print(f"Wrote {embeddings.shape} float32 to {out}")
    for notice in answer.notices:
        console.print(f"Notice: {notice}")
    if as_json or out is None:
        for name, key, values in zip(names, keys, embeddings, strict=True):
            click.echo(_json(name, key, values) if as_json else _line(name, key, values))
    if job.state != "done":
        raise click.exceptions.Exit(1)


def _json(name: str, key: str, values: NDArray[np.float32]) -> str:
    return json.dumps({"name": name, "key": key, "embedding": values.tolist()})


def _line(name: str, key: str, values: NDArray[np.float32]) -> str:
    first = " ".join(f"{value:.4g}" for value in values.ravel()[:_SHOWN])
    shape = "x".join(map(str, values.shape))
    return f"{name}\t{key}\t{shape}\t{first}{' ...' if values.size > _SHOWN else ''}"
