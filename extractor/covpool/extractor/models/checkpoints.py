"""Checkpoints: where a model's published files lie, and the digest of their content (no torch needed).

A name is a bundled model, a local directory, or a hub id; nothing is downloaded unless asked for.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from covpool.extractor.errors import CheckpointError, ModelNotFoundError
from covpool.extractor.files.digests import FileState, file_digest
from covpool.extractor.files.unreadable import unreadable
from covpool.extractor.models.families import Family, family_of
from covpool.extractor.models.hub import CONFIG, snapshot
from covpool.store.values.keys import canonical_json, sha256

CONFIGS = (CONFIG, "config.yml", "config.yaml")
CARD = "covpool.json"


@dataclass(frozen=True)
class Checkpoint:
    """A directory with a configuration and weights, as the publisher ships it.

    Attributes:
        name: what the user calls the model; part of every recipe.
        directory: where the files lie.
        config_file: `config.json` or `config.yml`.
        config: what it holds.
        family: that recognised it.
        weights: its weight files, in the order that the family gives them.
        card: the parsed `covpool.json`, notes of a bundled model; {} elsewhere.
        states: of all these files, seen before they were read.
    """

    name: str
    directory: Path
    config_file: Path
    config: Mapping[str, Any]
    family: Family
    weights: tuple[Path, ...]
    card: Mapping[str, Any]
    states: tuple[FileState | None, ...] = ()

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """SHA-256 of each weight file at the first call; the loaded file must have the same."""
        return tuple(file_digest(path) for path in self.weights)

    @property
    def has_changed(self) -> bool:
        """Whether a file looks different from what was read."""
        try:
            weights = self.family.files(self.directory)
        except CheckpointError:
            return True
        return self.states != _states(self.directory, weights)

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


def locate(name: str, *, revision: str | None = None, download: bool = False) -> Checkpoint:
    """The checkpoint called `name`: a bundled model, else a directory, else a hub id.

    Args:
        name: "ntv3-mini", a path, or "owner/model".
        revision: branch, tag or commit of a hub id.
        download: fetch a hub id that is not in the local hub cache; off, so that nothing reaches out
            unasked.

    Raises:
        ModelNotFoundError: there is no such model here, or it could not be downloaded; the message says why.
        CheckpointError: the directory lacks configuration or weights, or holds several, or the
            configuration is broken or of no family that is installed.
    """
    if name in bundled_names():
        return _read(name, bundled_directory() / name)
    path = Path(name).expanduser()
    if path.is_dir():
        return _read(path.resolve().name, path)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):

        def check(directory: Path) -> None:
            config = directory / CONFIG
            family_of(read_mapping(config), str(config))

        return _read(name, snapshot(name, revision, download=download, check=check))
    raise ModelNotFoundError(
        f"model {name!r}: neither a bundled model ({', '.join(bundled_names())}) nor a directory "
        "with configuration and weights"
    )


def bundled_directory() -> Path:
    """Where the models inside the package lie."""
    return Path(str(resources.files("covpool.extractor") / "bundled"))


def _read(name: str, directory: Path) -> Checkpoint:
    before = _states(directory)
    file = next((directory / file for file in CONFIGS if (directory / file).is_file()), None)
    if file is None:
        raise CheckpointError(
            f"{directory}: config.json (or config.yml) is missing; give the publisher's directory"
        )
    config = read_mapping(file)
    card = directory / CARD
    notes = read_mapping(card) if card.is_file() else {}
    family = family_of(config, str(file))
    weights = family.files(directory)
    states = (*before, *map(FileState.at, weights))
    return Checkpoint(name, directory, file, config, family, weights, notes, states)


def _states(directory: Path, weights: tuple[Path, ...] = ()) -> tuple[FileState | None, ...]:
    """Of every file that a checkpoint is read from, there or not."""
    return tuple(map(FileState.at, (*(directory / name for name in (*CONFIGS, CARD)), *weights)))


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a JSON or YAML file; `CheckpointError` when it holds none."""
    kind, parse = ("JSON", json.loads) if path.suffix == ".json" else ("YAML", yaml.safe_load)
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(unreadable(error, str(path))) from error
    except (ValueError, yaml.YAMLError) as error:
        raise CheckpointError(f"{path}: is no {kind} ({error}); correct it, or fetch it again") from error
    if not isinstance(content, dict):
        what = "JSON object" if kind == "JSON" else "YAML mapping"
        raise CheckpointError(f"{path}: expected a {what}, found {type(content).__name__}")
    return content
