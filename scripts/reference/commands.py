"""Commands: every `covpool` command with its arguments and options, as click holds them."""

import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import click

from covpool.clients.cli import GROUP
from reference.markdown import code, head, table

_PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))

_TEXT = """\
`covpool --help` and `covpool COMMAND --help` say the same. Options may also come from settings
([settings](settings.md)).

Exit codes: 0 done, 1 failed (also when one record of many failed), 2 wrong use. Results go to standard
output, what is said about them to standard error. `--json` gives an object, or one per line.
"""


def _commands() -> dict[str, click.Command]:
    """Every command by its name, in the order of their names."""
    found = {}
    for name, target in sorted(_PROJECT["project"]["entry-points"][GROUP].items()):
        command = EntryPoint(name, target, GROUP).load()
        assert isinstance(command, click.Command)
        found[name] = command
    return found


COMMANDS = _commands()


def walk(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """A command and all below it, by their words on the command line."""
    path = f"covpool {name}"
    yield path, command
    if isinstance(command, click.Group):
        for below, found in sorted(command.commands.items()):
            yield from walk(f"{name} {below}", found)


def page() -> str:
    """docs/reference/commands.md."""
    all_of_them = [pair for name, command in COMMANDS.items() for pair in walk(name, command)]
    contents = [(f"[`{path}`](#{path.replace(' ', '-')})", _first(command)) for path, command in all_of_them]
    sections = [_section(path, command) for path, command in all_of_them]
    return "\n".join((head("Commands", _TEXT), table(("command", "what it does"), contents), *sections))


def example(command: click.Command) -> str:
    """What stands after `Example:` in a command's help."""
    return " ".join((command.help or "").partition("Example: ")[2].split())


def _section(path: str, command: click.Command) -> str:
    text = (command.help or "").partition("Example: ")[0]
    paragraphs = [" ".join(one.split()) for one in text.split("\n\n") if one.strip()]
    usage = " ".join([path, *command.collect_usage_pieces(click.Context(command))])
    parts = [f"## {path}", *paragraphs, f"```\n{usage}\n```"]
    if called := example(command):
        parts.append(f"Example: `{called}`")
    shown = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    rows = [_row(option) for option in shown]
    if rows:
        parts.append(table(("option", "value", "default", "meaning"), rows))
    return "\n\n".join(parts).rstrip("\n") + "\n"


def _row(option: click.Option) -> tuple[str, str, str, str]:
    words = ", ".join(code(one) for one in (*option.opts, *option.secondary_opts))
    meaning = option.help or ""
    if isinstance(option.envvar, str):
        meaning += f" Variable: {code(option.envvar)}."
    if option.required:
        meaning += " Required."
    if option.multiple and "epeat" not in meaning:
        meaning += " Repeatable."
    return words, _value(option), _default(option), meaning.strip()


def _value(option: click.Option) -> str:
    if option.is_flag:
        return ""
    if option.metavar:
        return code(option.metavar)
    if isinstance(option.type, click.Choice):
        return ", ".join(code(str(one)) for one in option.type.choices)
    return option.type.name.replace(" range", "")


def _default(option: click.Option) -> str:
    value: Any = option.to_info_dict()["default"]
    if callable(value):
        value = option.show_default if isinstance(option.show_default, str) else None
    if (option.is_flag and not option.secondary_opts) or value is None or value == "" or value == ():
        return ""
    if option.is_flag:
        return code(option.opts[0] if value else option.secondary_opts[0])
    return code(str(value))


def _first(command: click.Command) -> str:
    return " ".join((command.help or "").partition("\n\n")[0].split())
