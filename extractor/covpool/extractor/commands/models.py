"""List the models that ship with covpool, describe a checkpoint, plan a run or check a model."""

import json
from pathlib import Path

import click

from covpool.extractor.errors import ExtractionError, LayerError
from covpool.extractor.models.families import FAMILIES, Family, ModelConfig, Report
from covpool.extractor.models.models import Model, bundled_models, describe
from covpool.extractor.models.options import DTYPES


@click.command
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="JSON, one model per line.")
@click.option(
    "--plan", metavar="MODEL", help="Memory and arithmetic that a run would take, where its family tells."
)
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
@click.option(
    "--check", metavar="MODEL", help="Run the publisher's test of a checkpoint, where there is one."
)
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

    --plan prints what a run will need before anything runs; published models are known by name.
    --check loads a checkpoint and compares its loss on the publisher's prompts with the published one.
    Of the families here, Evo 2 has both.

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
            {"name": layer.name, "width": layer.width, "bases_per_token": layer.bases_per_token}
            for layer in model.layers
        ],
    }


def _plan(name: str, length: int, layer: str | None, dtype: str, piece: int, as_json: bool) -> None:
    family, config = _family_and_config(name)
    if family.plan is None:
        able = ", ".join(family.name for family in FAMILIES.values() if family.plan is not None)
        raise click.UsageError(f"{name}: models of family {family.name} have no plan; those of {able} have")
    try:
        _show(
            family.plan(name, config, length=length, layer=layer, dtype=dtype, piece=piece), as_json=as_json
        )
    except LayerError as error:
        raise click.UsageError(str(error)) from error


def _family_and_config(name: str) -> tuple[Family, ModelConfig]:
    for family in FAMILIES.values():
        if name in family.published:
            return family, family.published[name]
    try:
        model = describe(name)
    except LookupError as error:
        published = ", ".join(name for family in FAMILIES.values() for name in family.published)
        raise click.UsageError(f"{error}; published models are {published}") from error
    return model.family, model.config


def _check(name: str, prompts: Path | None, device: str | None, as_json: bool) -> None:
    from covpool.extractor.adapters.registry import load_model

    model = describe(name)
    if model.family.check is None:
        able = ", ".join(family.name for family in FAMILIES.values() if family.check is not None)
        raise click.UsageError(
            f"{name}: models of family {model.family.name} have no test; those of {able} have"
        )
    outcome = model.family.check(load_model(model, device=device), prompts)
    _show(outcome, as_json=as_json)
    if outcome.passed is False:
        raise ExtractionError(
            f"{model.name}: the loss is not the published one; weights, dtype or device are unsound"
        )


def _show(report: Report, *, as_json: bool) -> None:
    for line in map(json.dumps, report.rows) if as_json else report.lines:
        click.echo(line)
