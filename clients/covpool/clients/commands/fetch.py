"""Fetch one cached second moment from a running service."""

import json
from pathlib import Path

import click
import numpy as np

from covpool.clients.client import Client
from covpool.clients.commands.options import check_output, service_options


@click.command
@click.argument("key")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the matrix (.npy), or count, mean and matrix (.npz).",
)
@click.option("--json", "as_json", is_flag=True, help="Count, width and trace as JSON.")
@service_options
def fetch(key: str, out: Path | None, as_json: bool, url: str, token: str | None) -> None:
    """Fetch the moments of KEY (64 hexadecimal digits, from `embed` or `status`).

    Example: covpool fetch 9c1f… --out lacZ.npy
    """
    if out is not None:
        check_output(out, ".npy", ".npz")
    with Client(url, token) as client:
        moments = client.moments(key)
    if out is not None and out.suffix == ".npy":
        np.save(out, moments.second_moment, allow_pickle=False)
    elif out is not None:
        np.savez(out, count=moments.count, mean=moments.mean, second_moment=moments.second_moment)
    width, trace = len(moments.mean), float(np.trace(moments.second_moment))
    if as_json:
        click.echo(json.dumps({"key": key, "count": moments.count, "width": width, "trace": trace}))
    else:
        click.echo(f"{key}: {moments.count:,} tokens, {width} x {width}, trace {trace:.6g}")
