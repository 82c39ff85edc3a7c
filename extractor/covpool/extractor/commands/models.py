"""List the models that ship with covpool, describe a checkpoint, plan or check an Evo 2 model."""

import json
from pathlib import Path

import click

from covpool.extractor.errors import ExtractionError
from covpool.extractor.models.models import DTYPES, Model, bundled_models, describe
from covpool.extractor.networks.evo2.config import Evo2Config

GIB = 2**30


@click.command
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="JSON, one model per line.")
@click.option("--plan", metavar="MODEL", help="Memory and arithmetic an Evo 2 model would take.")
@click.option(
    "--length", type=click.IntRange(min=1), default=1_000_000, show_default=True, help="To plan, bp."
)
@click.option("--layer", help="Deepest layer to plan; the model's default one when omitted.")
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    default="bfloat16",
    show_default=True,
    help="To plan: of weights and activations.",
)
@click.option("--piece", type=click.IntRange(min=1), default=8192, show_default=True, help="Tokens per step.")
@click.option("--check", metavar="MODEL", help="Run the published forward test of an Evo 2 checkpoint.")
@click.option(
    "--prompts", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Its prompts.csv."
)
@click.option("--device", help="Torch device of the check; CUDA where there is one.")
def models(
    name: str | None,
    as_json: bool,
    plan: str | None,
    length: int,
    layer: str | None,
    dtype: str,
    piece: int,
    check: str | None,
    prompts: Path | None,
    device: str | None,
) -> None:
    """List the bundled models, or describe NAME (bundled, a directory, a hub id) with its layers.

    --plan prints what an Evo 2 run will need before anything runs; published models are known by name.
    --check loads a checkpoint and compares its loss on the publisher's prompts with the published one.

    Example: covpool models ntv3-mini; covpool models --plan evo2_7b --length 1000000
    """
    if sum(value is not None for value in (name, plan, check)) > 1:
        raise click.UsageError("give one of NAME, --plan and --check")
    if plan is not None:
        _plan(plan, length, layer, dtype, piece, as_json)
    elif check is not None:
        _check(check, prompts, device, as_json)
    else:
        _list(name, as_json)


def _list(name: str | None, as_json: bool) -> None:
    for model in [describe(name)] if name else bundled_models():
        if as_json:
            click.echo(json.dumps(_body(model)))
            continue
        trained = "trained: true" if model.trained else "trained: false"
        click.echo(f"{model.name}\t{trained}\tdefault layer {model.default_layer}\t{model.summary}")
        click.echo(f"  licence: {model.licence}")
        if name:
            click.echo(f"  weights: {model.weights}\n  documented input: up to {model.max_bases:,} bp")
            if model.conditions:
                click.echo(f"  species: {', '.join(model.conditions)}")
            for layer in model.layers:
                click.echo(f"  {layer.name}\twidth {layer.width}\t{layer.bases_per_token} bp per token")


def _body(model: Model) -> dict[str, object]:
    return {
        "name": model.name,
        "family": model.family.name,
        "trained": model.trained,
        "summary": model.summary,
        "licence": model.licence,
        "weights": model.weights,
        "default_layer": model.default_layer,
        "max_bases": model.max_bases,
        "species": list(model.conditions),
        "layers": [
            {"name": one.name, "width": one.width, "bases_per_token": one.bases_per_token}
            for one in model.layers
        ],
    }


def _plan(name: str, length: int, layer: str | None, dtype: str, piece: int, as_json: bool) -> None:
    from covpool.extractor.networks.evo2.plan import Work, estimate, schedules

    config = _shape(name)
    deepest = layer or config.default_layer
    if deepest not in {tap for tap, _, _ in config.layers}:
        raise click.UsageError(f"{name} has no layer {deepest!r}; try {config.default_layer}")
    itemsize = {"float64": 8, "float32": 4, "bfloat16": 2}[dtype]
    rows = [
        (streamed, estimate(Work(config, length, (deepest,), 1, itemsize, streamed), schedule))
        for schedule in schedules(piece, on_device=True)
        for streamed in (False, True)
        if not streamed or schedule.order == "layer-major"
    ]
    work = Work(config, length, (deepest,), 1, itemsize)
    if as_json:
        for streamed, row in rows:
            told = {
                "schedule": row.schedule.order,
                "host_residual": row.schedule.host_residual,
                "streamed_weights": streamed,
                "weights": row.weights,
                "cache": row.cache,
                "residual": row.residual,
                "working": row.working,
                "device": row.device,
                "host": row.host,
                "matmul_flops": work.matmul_flops,
                "attention_flops": work.attention_flops,
            }
            click.echo(json.dumps(told))
        return
    click.echo(
        f"{name}: {config.parameter_count / 1e9:.2f} billion parameters, {length:,} tokens up to {deepest}, "
        f"{dtype}, pieces of {piece:,}; documented for {config.context:,}"
    )
    click.echo(
        f"arithmetic: matrix products {work.matmul_flops / 1e15:.2f} PFLOP, "
        f"causal attention {work.attention_flops / 1e15:.2f} PFLOP"
    )
    click.echo("GiB      weights  keys+values  residual  working  on the device  on the host  schedule")
    for streamed, row in rows:
        click.echo(
            f"{'':8}{row.weights / GIB:8.1f}{row.cache / GIB:13.1f}{row.residual / GIB:10.1f}"
            f"{row.working / GIB:9.1f}{row.device / GIB:15.1f}{row.host / GIB:13.1f}  "
            f"{row.schedule}{', weights streamed' if streamed else ''}"
        )


def _shape(name: str) -> Evo2Config:
    from covpool.extractor.networks.evo2.published import PUBLISHED

    if name in PUBLISHED:
        return PUBLISHED[name].config
    try:
        config = describe(name).config
    except LookupError as error:
        raise click.UsageError(f"{error}; published models are {', '.join(PUBLISHED)}") from error
    if not isinstance(config, Evo2Config):
        raise click.UsageError(f"{name} is no Evo 2 model; others have no schedules to choose from")
    return config


def _check(name: str, prompts: Path | None, device: str | None, as_json: bool) -> None:
    from covpool.extractor.adapters.evo2 import Evo2Adapter
    from covpool.extractor.adapters.evo2_check import TOLERANCE, check
    from covpool.extractor.adapters.registry import load_adapter

    adapter = load_adapter(name, device=device)
    if not isinstance(adapter, Evo2Adapter):
        raise click.UsageError(f"{name} is no Evo 2 model; there is no published test of it")
    found = check(adapter, prompts)
    if as_json:
        told = {"model": adapter.model.name, "loss": found.loss, "expected": found.expected}
        click.echo(json.dumps(told | {"sequences": found.sequences, "passed": found.passed}))
    else:
        expected = "none published" if found.expected is None else f"{found.expected} ± {TOLERANCE}"
        click.echo(
            f"{adapter.model.name}: mean loss {found.loss:.4f} nats per token over {found.sequences} "
            f"sequences; expected {expected}"
        )
    if found.passed is False:
        raise ExtractionError(
            f"{adapter.model.name}: the loss is not the published one; weights, dtype or device are unsound"
        )
