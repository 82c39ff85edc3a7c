"""Make, list and revoke the bearer tokens of a service."""

import json
from collections.abc import Sequence
from typing import cast

import click

from covpool.service.commands.options import json_option, store_option
from covpool.service.commands.stores import open_store
from covpool.service.database.tokens import SCOPES, Scope, Tokens


@click.group
def token() -> None:
    """Make, list and revoke bearer tokens; once one was made, every request needs one.

    Example: covpool token create alice --scope submit
    """


@token.command
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(SCOPES),
    help="read; submit, which includes it; or admin, which includes both.",
)
@store_option
def create(name: str, scopes: Sequence[str], store: str | None) -> None:
    """Make a token for NAME and print it; it is not stored and cannot be shown again.

    Example: covpool token create alice --scope submit
    """
    with open_store(store, create=True) as opened:
        click.echo(Tokens(opened.database).create(name, cast(Sequence[Scope], scopes)))


@token.command("list")
@json_option("One JSON object per token.")
@store_option
def list_tokens(as_json: bool, store: str | None) -> None:
    """List tokens without their secrets.

    Example: covpool token list --json
    """
    with open_store(store) as opened:
        for entry in Tokens(opened.database).all():
            scopes = sorted(entry.scopes, key=SCOPES.index)
            created = entry.created.isoformat(timespec="seconds")
            revoked = entry.revoked and entry.revoked.isoformat(timespec="seconds")
            row = {"name": entry.name, "scopes": scopes, "created": created, "revoked": revoked}
            plain = (entry.name, ",".join(scopes), created, "revoked" if revoked else "in use")
            click.echo(json.dumps(row) if as_json else "\t".join(plain))


@token.command
@click.argument("name")
@store_option
def revoke(name: str, store: str | None) -> None:
    """Refuse the token of NAME from now on.

    Example: covpool token revoke alice
    """
    with open_store(store, writing=True) as opened:
        Tokens(opened.database).revoke(name)
    click.echo(f"{name}: revoked")
