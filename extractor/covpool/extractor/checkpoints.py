"""Checkpoints: where a model's published files lie, and the digest of their content (no torch needed).

A name is a bundled model, a local directory, or a hub id; nothing is downloaded unless asked for.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from covpool.extractor.digests import file_digest
from covpool.extractor.errors import CheckpointError, ModelNotFoundError
from covpool.store.keys import canonical_json, sha256

WEIGHTS = "model.safetensors"
CARD = "covpool.json"


@dataclass(frozen=True)
class Checkpoint:
    """A directory with `config.json` and `model.safetensors`, as the publisher ships it.

    Attributes:
        name: what the user calls the model; part of every recipe.
        directory: where the files lie.
        config: the parsed `config.json`.
        card: the parsed `covpool.json`, our notes beside a bundled model; {} elsewhere.
    """

    name: str
    directory: Path
    config: Mapping[str, Any]
    card: Mapping[str, Any]

    @property
    def weights(self) -> Path:
        """The weight file."""
        return self.directory / WEIGHTS

    def digest(self, shape: Mapping[str, Any]) -> str:
        """SHA-256 over the weight file's bytes and `shape`, the configuration that shapes the numbers."""
        return sha256(canonical_json({"config": dict(shape), "weights": file_digest(self.weights)}))


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
        ModelNotFoundError: there is no such model here.
        CheckpointError: the directory lacks `config.json` or `model.safetensors`, or the JSON is broken.
    """
    if name in bundled_names():
        return _read(name, bundled_directory() / name)
    path = Path(name).expanduser()
    if path.is_dir():
        return _read(path.resolve().name, path)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return _read(name, _from_hub(name, revision, download))
    raise ModelNotFoundError(
        f"model {name!r}: neither a bundled model ({', '.join(bundled_names())}) nor a directory "
        "with config.json and model.safetensors"
    )


def bundled_directory() -> Path:
    """Where the models inside the package lie."""
    return Path(str(resources.files("covpool.extractor") / "bundled"))


def _from_hub(name: str, revision: str | None, download: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=["config.json", WEIGHTS],
                local_files_only=not download,
            )
        )
    except LocalEntryNotFoundError as error:
        raise ModelNotFoundError(
            f"model {name!r} (revision {revision or 'main'}): neither a directory nor in the local hub "
            "cache; allow the download, or give a checkpoint directory"
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ModelNotFoundError(f"model {name!r}: the hub did not provide it ({error})") from error


def _read(name: str, directory: Path) -> Checkpoint:
    for file in ("config.json", WEIGHTS):
        if not (directory / file).is_file():
            raise CheckpointError(f"{directory}: {file} is missing; give the publisher's directory")
    card = directory / CARD
    return Checkpoint(
        name, directory, read_json(directory / "config.json"), read_json(card) if card.is_file() else {}
    )


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; `CheckpointError` when it holds none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not readable JSON ({error}); fetch it again") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(found).__name__}")
    return found
