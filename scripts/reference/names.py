"""Names: what `covpool.store`, `.extractor`, `.service` and `.clients` hand out, with their methods."""

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from reference.markdown import code, head, summary, table

ROOMS = ("clients", "extractor", "store", "service")

_TEXT = """\
What other code may build on: the names that the four packages hand out. Everything else may change without
notice. `help(name)` says the rest: arguments, shapes, units, errors.
"""


def page() -> str:
    """docs/reference/names.md."""
    return "\n".join((head("Public names", _TEXT), *map(_section, ROOMS)))


def public(room: str) -> dict[str, Any]:
    """Public names of a room and what they are."""
    module = importlib.import_module(f"covpool.{room}")
    return {name: getattr(module, name) for name in sorted(module.__all__, key=str.lower)}


def members(owner: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties that covpool defines, each once; none that a library asked for."""
    elsewhere = {name for base in owner.__mro__ if not _is_ours(base) for name in dir(base)}
    seen: set[str] = set()
    for base in owner.__mro__:
        if _is_ours(base):
            for name, member in vars(base).items():
                if not name.startswith("_") and name not in seen | elsewhere and _is_member(member):
                    seen.add(name)
                    yield name, member


def meaning(name: str, value: Any) -> str:
    """The first paragraph of what is documented; of a value, the `#:` lines before it."""
    if inspect.isclass(value) or inspect.isroutine(value):
        return summary(value)
    for module in _modules():
        text = inspect.getsource(module)
        if found := re.search(rf"((?:^#:.*\n)+){name}\b", text, re.MULTILINE):
            return " ".join(line.removeprefix("#:").strip() for line in found[1].splitlines())
    return ""


def _section(room: str) -> str:
    module = importlib.import_module(f"covpool.{room}")
    found = public(room)
    rows = [(code(name), _kind(value), meaning(name, value)) for name, value in found.items()]
    parts = [f"## covpool.{room}", summary(module), table(("name", "kind", "meaning"), rows)]
    for name, value in found.items():
        if inspect.isclass(value) and not issubclass(value, Exception):
            below = [(code(f"{one}{_signature(member)}"), summary(member)) for one, member in members(value)]
            if below:
                parts += [f"### {name}", table(("member", "meaning"), below)]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _kind(value: Any) -> str:
    if inspect.isclass(value):
        return "error" if issubclass(value, Exception) else "class"
    return "function" if inspect.isroutine(value) else "value"


def _is_ours(owner: type) -> bool:
    return owner.__module__.startswith("covpool.")


def _is_member(member: object) -> bool:
    return isinstance(member, property | classmethod | staticmethod) or inspect.isfunction(member)


def _signature(member: Any) -> str:
    """Names of the parameters without their types."""
    if isinstance(member, property):
        return ""
    words, keyword_only = [], False
    for one in inspect.signature(getattr(member, "__func__", member)).parameters.values():
        if one.name in ("self", "cls"):
            continue
        if one.kind is one.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            words.append("*")
        stars = "*" * (one.kind is one.VAR_POSITIONAL) or "**" * (one.kind is one.VAR_KEYWORD)
        words.append(stars + one.name)
        keyword_only |= one.kind is one.VAR_POSITIONAL
    return f"({', '.join(words)})"


def _modules() -> list[ModuleType]:
    return [module for name, module in sorted(sys.modules.items()) if name.startswith("covpool.")]
