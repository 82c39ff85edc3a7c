"""Model families: what each package that brings one says of it; described without torch.

A family is one object, offered in the entry-point group `covpool.adapters`. What needs torch is imported by
the functions that run the model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from covpool.extractor.errors import CheckpointError, ExtractionError
from covpool.extractor.models.weight_files import published_files
from covpool.store.registry import Registry


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
