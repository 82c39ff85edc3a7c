"""Embed a FASTA file, through a running service."""

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console

from covpool.clients.arrays import decode_embeddings
from covpool.clients.client import Client
from covpool.clients.commands.options import (
    check_output,
    content_of,
    extraction_options,
    fasta_argument,
    progress_of,
    service_options,
)


@click.command
@fasta_argument
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write names, keys and embeddings (.npz)."
)
@click.option("--bottleneck", help="A name from /v1/bottlenecks; the model's default one when omitted.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per sequence on standard output.")
@extraction_options
@service_options
def embed(
    fasta: Path,
    out: Path | None,
    bottleneck: str | None,
    as_json: bool,
    url: str,
    token: str | None,
    **extraction: Any,
) -> None:
    """Embed every sequence of FASTA (plain, gzip, bgzip, bzip2, xz or zstd; - is standard input).

    Example: covpool embed genes.fa --out genes.npz
    """
    console = Console(stderr=True, markup=False, highlight=False)
    if out is not None:
        check_output(out, ".npz")
    with Client(url, token) as client:
        job = client.submit(content_of(fasta), **extraction)
        with progress_of(console) as progress:
            client.wait(job, progress=progress)
        answer = client.embeddings(job, bottleneck=bottleneck)
    embeddings = decode_embeddings(answer.data)
    if out is not None:
        names, keys = [one.name for one in answer.data], [one.key for one in answer.data]
        np.savez(out, names=np.array(names), keys=np.array(keys), embeddings=embeddings)
        console.print(f"Wrote {embeddings.shape} float32 to {out}")
    for notice in answer.notices:
        console.print(f"Notice: {notice}")
    if as_json:
        for one, values in zip(answer.data, embeddings, strict=True):
            click.echo(json.dumps({"name": one.name, "key": one.key, "embedding": values.tolist()}))
    elif out is None:
        for one, values in zip(answer.data, embeddings, strict=True):
            first = " ".join(f"{value:.4g}" for value in values.ravel()[:4])
            click.echo(f"{one.name}\t{one.key}\t{values.shape[0]}x{values.shape[1]}\t{first} ...")
