"""State of a fit under way: arrays kept after every sweep or epoch, so that a stopped fit goes on.

A state belongs to one fit: method, settings and the collection of moments are named in it, and a state of
another fit is refused rather than taken up.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from covpool.extractor.errors import FitError
from covpool.extractor.fitting.source import MomentsSource
from covpool.store.storage.whole_files import write_whole
from covpool.store.values.keys import canonical_json

Array = NDArray[Any]


@dataclass(frozen=True)
class FitState:
    """A directory with the arrays of one fit."""

    directory: Path
    identity: str

    @property
    def _path(self) -> Path:
        return self.directory / "state.safetensors"

    def load(self) -> Mapping[str, Array] | None:
        """The arrays kept last; None when the fit has not begun.

        Raises:
            FitError: they are of another fit, or damaged.
        """
        if not self._path.exists():
            return None
        try:
            with safe_open(self._path, "numpy") as file:
                if (file.metadata() or {}).get("identity") != self.identity:
                    raise FitError(
                        f"{self._path}: state of another fit (method, settings or moments differ); give "
                        "another directory, or remove it"
                    )
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise FitError(f"{self._path}: not a readable fit state ({error}); remove it") from error

    def save(self, **arrays: Array) -> None:
        """Keep arrays; in one step, so that a fit stopped while saving has the ones before."""
        contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        write_whole(self._path, save(contiguous, metadata={"identity": self.identity}))

    def scratch(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """A float32 array on disk, as it was left, or new."""
        path = self.directory / f"{name}.float32"
        size = 4 * int(np.prod(shape))
        mode = "r+" if path.exists() and path.stat().st_size == size else "w+"
        return np.memmap(path, np.float32, mode, shape=shape)  # type: ignore[call-overload, no-any-return]


@contextmanager
def fit_state(
    directory: Path | None, source: MomentsSource, settings: Mapping[str, Any]
) -> Iterator[FitState]:
    """The state of a fit in a directory that is kept, or in a passing one for None."""
    identity = canonical_json({**settings, "source": source.digest, "recipe": source.recipe.digest})
    if directory is None:
        with TemporaryDirectory(prefix="covpool-fit-") as passing:
            yield FitState(Path(passing), identity)
        return
    directory.mkdir(parents=True, exist_ok=True)
    yield FitState(directory, identity)
