"""Model families: what each package that brings one says of it; described without torch.

A family is one object, offered in the entry-point group `covpool.adapters`. What needs torch is imported by
the functions that run the model.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from covpool.extractor.errors import CheckpointError, ExtractionError
from covpool.store.registry import Registry

WEIGHTS = "model.safetensors"

#: Files of `torch.save`: whole, or cut into parts that follow one another.
_PICKLED = re.compile(r"(?P<name>.+\.pt)(\.part(?P<part>\d+))?")


def published_files(directory: Path) -> tuple[Path, ...]:
    """The safetensors file, else the one `.pt` file or its parts in their order.

    Raises:
        CheckpointError: there are none, several, or a part is missing.
    """
    if (directory / WEIGHTS).is_file():
        return (directory / WEIGHTS,)
    parts: dict[str, dict[int, Path]] = {}
    for path in directory.iterdir():
        if match := _PICKLED.fullmatch(path.name):
            parts.setdefault(match["name"], {})[int(match["part"] or -1)] = path
    if not parts:
        raise CheckpointError(
            f"{directory}: {WEIGHTS} is missing, and no .pt file stands in for it; "
            "give the publisher's directory"
        )
    if len(parts) > 1:
        raise CheckpointError(f"{directory}: several checkpoints ({', '.join(sorted(parts))}); keep one")
    ((name, found_parts),) = parts.items()
    if -1 in found_parts:
        return (found_parts[-1],)
    if missing := sorted(set(range(max(found_parts) + 1)) - found_parts.keys()):
        raise CheckpointError(f"{directory}: {name}.part{missing[0]} is missing; fetch it again")
    return tuple(found_parts[part] for part in sorted(found_parts))


class ModelConfig(Protocol):
    """What a family's parsed configuration, a dataclass, must tell without weights.

    Attributes:
        layers: (name, width, bp per token) of every tap, in the order they are computed.
        default_layer: the layer used when none is asked for.
        final_layer: the last layer before any head.
        context: the longest input the publisher documents, in bp.
        conditions: species the model must be conditioned on; empty for most models.
        numerics: what the compute dtype alone does not say; part of the recipe.
        adapter_version: raised where the adapter's code changes the numbers; part of the recipe.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def layers(self) -> tuple[tuple[str, int, int], ...]: ...
    @property
    def default_layer(self) -> str: ...
    @property
    def final_layer(self) -> str: ...
    @property
    def context(self) -> int: ...
    @property
    def conditions(self) -> tuple[str, ...]: ...
    @property
    def numerics(self) -> str: ...
    @property
    def adapter_version(self) -> int: ...


@dataclass(frozen=True)
class Report:
    """The result of a plan or a check.

    Attributes:
        lines: for people.
        rows: the same as JSON objects.
        passed: of a check; None where there is nothing to compare with.
    """

    lines: tuple[str, ...]
    rows: tuple[Mapping[str, object], ...]
    passed: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Family:
    """A model family.

    Attributes:
        name: part of every recipe.
        recognises: whether a parsed `config.json` or `config.yml` is one of this family's.
        read_config: checks a parsed configuration; the second argument is where it lies, for messages.
        load: loads the adapter of a described checkpoint: load(model, device=..., dtype=...).
        licence: notice for checkpoints that bring none of their own.
        files: the weight files in a checkpoint's directory, in their order.
        published: configurations of published checkpoints by name, to plan with before a download.
        as_directory: parts of hub ids whose weights the hub has in other files than `model.safetensors`.
        plan: tells what a run takes, of a name and a configuration, with `length` in bp, `layer`, `dtype`
            and `piece` in tokens; None where the family cannot tell. Raises `LayerError`.
        check: runs the publisher's test on an adapter, with its prompts; None where there is none.
    """

    name: str
    recognises: Callable[[Mapping[str, Any]], bool]
    read_config: Callable[[Mapping[str, Any], str], ModelConfig]
    load: Callable[..., Any]
    licence: str
    files: Callable[[Path], tuple[Path, ...]] = published_files
    published: Mapping[str, ModelConfig] = field(default_factory=dict)
    as_directory: tuple[str, ...] = ()
    plan: Callable[..., Report] | None = None
    check: Callable[[Any, Path | None], Report] | None = None

    def __reduce__(self) -> tuple[Callable[[str], "Family"], tuple[str]]:
        # Pickled by name, as some functions cannot be pickled.
        return _by_name, (self.name,)


#: By name, of every installed package.
FAMILIES: Registry[Family] = Registry("covpool.adapters", Family, ExtractionError)


def _by_name(name: str) -> Family:
    return next(family for family in FAMILIES.values() if family.name == name)


def family_of(config: Mapping[str, Any], where: str) -> Family:
    """The family whose configuration this is.

    Raises:
        CheckpointError: no installed family recognises it, or several do.
    """
    families = [family for family in FAMILIES.values() if family.recognises(config)]
    if len(families) > 1:
        both = " and ".join(family.name for family in families)
        raise CheckpointError(f"{where}: is taken by {both}; uninstall the package of one of them")
    if not families:
        raise CheckpointError(
            f"{where}: model_type {config.get('model_type')!r} is not one of {', '.join(FAMILIES)}; "
            "install the package that brings its family"
        )
    return families[0]
