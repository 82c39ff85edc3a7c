"""Outputs: checks the files that a command will write, before its work begins."""

import os
from pathlib import Path

import click


def check_output(path: Path, option: str, *suffixes: str) -> None:
    """Refuse a path that cannot be written, or whose suffix does not match its format.

    Raises:
        click.UsageError: with the remedy.
    """
    if path.suffix not in suffixes:
        raise click.UsageError(f"{option}: {path} must end in {', '.join(suffixes)}")
    if not path.absolute().parent.is_dir():
        raise click.UsageError(f"{option}: there is no directory {path.parent}; make it first")
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise click.UsageError(f"{option}: {path} may not be written; choose another place")


def check_plot(path: Path | None) -> None:
    """Refuse an image that cannot be drawn; None is no image.

    Raises:
        click.UsageError: its format is unknown, or it cannot be written.
        click.ClickException: matplotlib is not installed.
    """
    if path is None:
        return
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as error:
        raise click.ClickException("--plot needs matplotlib: pip install 'covpool[plots]'") from error
    check_output(path, "--plot", *(f".{name}" for name in sorted(FigureCanvasBase.get_supported_filetypes())))
