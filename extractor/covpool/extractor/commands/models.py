"""List the models that ship with covpool, or describe a checkpoint."""

import json

import click

from covpool.extractor.models import Model, bundled_models, describe


@click.command
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="JSON, one model per line.")
def models(name: str | None, as_json: bool) -> None:
    """List the bundled models, or describe NAME (bundled, a directory, a hub id) with its layers.

    Example: covpool models ntv3-mini
    """
    found = [describe(name)] if name else bundled_models()
    for model in found:
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
