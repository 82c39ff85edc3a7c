"""Serve the HTTP API, with a supervised worker."""

import ipaddress
import math
import socket
from collections.abc import Sequence
from types import FrameType
from typing import Any

import click
import uvicorn

from covpool.service import logs
from covpool.service.commands.options import writing_options
from covpool.service.database.tokens import Tokens
from covpool.service.errors import SettingsError
from covpool.service.http.app import create_app
from covpool.service.http.shutdown import Shutdown
from covpool.service.settings import Settings
from covpool.service.submission.served import Served


@click.command
@click.option("--store", help="Directory of the store; made when it does not exist.")
@writing_options
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one.")
@click.option(
    "--read-only",
    is_flag=True,
    default=None,
    help="Serve what is cached, compute and change nothing; no workers.",
)
@click.option("--workers", type=int, help="Worker processes on this machine; 0 for none.")
@click.option(
    "--model", "models", multiple=True, help="A checkpoint directory to serve besides the bundled ones."
)
@click.option(
    "--public-without-tokens",
    is_flag=True,
    default=None,
    help="Listen beyond this machine although no token was made.",
)
@click.option("--log-level", type=click.Choice(["debug", "info", "warning"]), help="Least that is logged.")
@click.option("--log-format", type=click.Choice(["text", "json"]), help="Lines, or a JSON object per event.")
@click.option("--config", help="TOML file of settings.")
@click.option("--show-config", is_flag=True, help="Print all settings, secrets masked, and do nothing else.")
def serve(*, models: Sequence[str], show_config: bool, **given: Any) -> None:
    """Serve the HTTP API; every option can also be set as COVPOOL_NAME in the environment, or in --config.

    Example: covpool serve --store genes.covpool --port 8000
    """
    try:
        settings = Settings.read(models=list(models) or None, **given)
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    if show_config:
        click.echo(settings.shown())
        return
    logs.configure(settings)
    # An error here is one line; inside the server it would be a traceback.
    if settings.store.startswith("memory://"):
        raise click.UsageError("--store memory:// cannot be shared with the workers; give a directory")
    with settings.open_store() as opened:
        check_public(settings, Tokens(opened.database))
        if opened.outdated:
            click.echo(f"Notice: catalog and arrays are not of the same moment ({opened.outdated})", err=True)
    served = Served.read(settings.models, settings.bottlenecks)
    # Bound here and not by uvicorn, so that the port is known and taken before anything starts.
    listener = _listen(settings.host, settings.port)
    address, number = listener.getsockname()[:2]
    click.echo(f"covpool serves http://{address}:{number} from {settings.store}")
    shutdown = Shutdown(settings.shutdown_s)
    server_config = uvicorn.Config(
        create_app(settings, served, shutdown),
        loop="uvloop",
        http="httptools",
        log_config=None,
        log_level=settings.log_level,
        timeout_graceful_shutdown=math.ceil(settings.shutdown_s),
        # The request context logs requests under their ids.
        access_log=False,
        # Longer than clients and proxies keep idle connections, so that the server does not close first.
        timeout_keep_alive=75,
        server_header=False,
    )
    Server(server_config, shutdown).run(sockets=[listener])


class Server(uvicorn.Server):
    """Ends waiting requests and streams early on a stop signal; uvicorn lets the others finish."""

    def __init__(self, config: uvicorn.Config, shutdown: Shutdown) -> None:
        super().__init__(config)
        self._shutdown = shutdown

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the shutdown."""
        self._shutdown.begin()
        super().handle_exit(sig, frame)


def check_public(settings: Settings, tokens: Tokens) -> None:
    """Refuse to serve other machines without asking them for a token.

    Raises:
        click.UsageError: with both remedies.
    """
    if tokens.needed or settings.public_without_tokens or _is_loopback(settings.host):
        return
    raise click.UsageError(
        f"--host {settings.host}: others could reach this service, and it has no tokens; make one with "
        "`covpool token create`, or say --public-without-tokens"
    )


def _is_loopback(host: str) -> bool:
    try:
        # No host at all means every address.
        addresses = {str(info[4][0]) for info in socket.getaddrinfo(host, 0)} if host else {"0.0.0.0"}
    except OSError:
        # The host has no address; listening on it fails later with a message.
        return True
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        raise click.ClickException(
            f"cannot listen on {host}:{port} ({error.strerror}); choose another --port or --host"
        ) from error
    return listener
