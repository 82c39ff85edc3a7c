"""Checkpoints: where a model's published files lie, and the digest of their content (no torch needed).

A name is a bundled model, a local directory, or a hub id; nothing is downloaded unless asked for.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from covpool.extractor.errors import CheckpointError, ModelNotFoundError
from covpool.extractor.files.digests import FileState, file_digest
from covpool.extractor.files.unreadable import unreadable
from covpool.extractor.models.hub import CONFIG, WEIGHTS, snapshot
from covpool.store.values.keys import canonical_json, sha256

CONFIGS = (CONFIG, "config.yml", "config.yaml")
CARD = "covpool.json"

#: `torch.save` files as published for Evo 2: whole, or cut into parts that follow one another.
_PICKLED = re.compile(r"(?P<name>.+\.pt)(\.part(?P<part>\d+))?")


@dataclass(frozen=True)
class Checkpoint:
    """A directory with a configuration and weights, as the publisher ships it.

    Attributes:
        name: what the user calls the model; part of every recipe.
        directory: where the files lie.
        config_file: `config.json` or `config.yml`.
        config: what it holds.
        weights: the weight file; several when it is cut into parts, in their order.
        card: the parsed `covpool.json`, our notes beside a bundled model; {} elsewhere.
        states: of all these files, seen before they were read.
    """

    name: str
    directory: Path
    config_file: Path
    config: Mapping[str, Any]
    weights: tuple[Path, ...]
    card: Mapping[str, Any]
    states: tuple[FileState | None, ...] = ()

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """SHA-256 of each weight file when this was first asked; whoever loads it must find it so."""
        return tuple(file_digest(path) for path in self.weights)

    @property
    def has_changed(self) -> bool:
        """Whether a file looks different from what was read."""
        return self.states != _states(self.directory)

    def read_again(self) -> "Checkpoint":
        """The checkpoint of this name that is there now; errors as `locate`."""
        return _read(self.name, self.directory)

    def digest(self, shape: Mapping[str, Any]) -> str:
        """SHA-256 over the weight files' bytes and `shape`, the configuration that shapes the numbers."""
        weights = self.digests[0] if len(self.digests) == 1 else list(self.digests)
        return sha256(canonical_json({"config": dict(shape), "weights": weights}))


def bundled_names() -> tuple[str, ...]:
    """Names of the models inside the package, the embedded default first."""
    return tuple(sorted(path.name for path in bundled_directory().iterdir() if path.is_dir()))


def locate(
    name: str,
    *,
    revision: str | None = None,
    download: bool = False,
    check: Callable[[Mapping[str, Any], str], object] = lambda config, where: None,
) -> Checkpoint:
    """The checkpoint called `name`: a bundled model, else a directory, else a hub id.

    Args:
        name: "ntv3-mini", a path, or "owner/model".
        revision: branch, tag or commit of a hub id.
        download: fetch a hub id that is not in the local hub cache; off, so that nothing reaches out
            unasked.
        check: called with the configuration of a hub id and where it lies, before weights are downloaded.

    Raises:
        ModelNotFoundError: there is no such model here, or it could not be downloaded; the message says why.
        CheckpointError: the directory lacks configuration or weights, or holds several, or the
            configuration is broken.
    """
    if name in bundled_names():
        return _read(name, bundled_directory() / name)
    path = Path(name).expanduser()
    if path.is_dir():
        return _read(path.resolve().name, path)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):

        def read_and_check(directory: Path) -> None:
            config = directory / CONFIG
            check(read_json(config), str(config))

        return _read(name, snapshot(name, revision, download=download, check=read_and_check))
    raise ModelNotFoundError(
        f"model {name!r}: neither a bundled model ({', '.join(bundled_names())}) nor a directory "
        "with configuration and weights"
    )


def bundled_directory() -> Path:
    """Where the models inside the package lie."""
    return Path(str(resources.files("covpool.extractor") / "bundled"))


def _read(name: str, directory: Path) -> Checkpoint:
    states = _states(directory)
    config = next((directory / file for file in CONFIGS if (directory / file).is_file()), None)
    if config is None:
        raise CheckpointError(
            f"{directory}: config.json (or config.yml) is missing; give the publisher's directory"
        )
    card = directory / CARD
    return Checkpoint(
        name,
        directory,
        config,
        read_json(config) if config.suffix == ".json" else read_yaml(config),
        _weights(directory),
        read_json(card) if card.is_file() else {},
        states,
    )


def _states(directory: Path) -> tuple[FileState | None, ...]:
    """Of every file that a checkpoint may be read from, there or not."""
    pickled = sorted(path for path in directory.glob("*.pt*") if _PICKLED.fullmatch(path.name))
    named = (directory / name for name in (*CONFIGS, CARD, WEIGHTS))
    return tuple(FileState.at(path) for path in (*named, *pickled))


def _weights(directory: Path) -> tuple[Path, ...]:
    """The safetensors file, else the one `.pt` file or its parts."""
    if (directory / WEIGHTS).is_file():
        return (directory / WEIGHTS,)
    parts: dict[str, dict[int, Path]] = {}
    for path in directory.iterdir():
        if found := _PICKLED.fullmatch(path.name):
            parts.setdefault(found["name"], {})[int(found["part"] or -1)] = path
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


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; `CheckpointError` when it holds none."""
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(unreadable(error, str(path))) from error
    except (ValueError, yaml.YAMLError) as error:
        raise CheckpointError(f"{path}: is no YAML ({error}); correct it, or fetch it again") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: expected a YAML mapping, found {type(found).__name__}")
    return found


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; `CheckpointError` when it holds none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(unreadable(error, str(path))) from error
    except ValueError as error:
        raise CheckpointError(f"{path}: is no JSON ({error}); correct it, or fetch it again") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(found).__name__}")
    return found
