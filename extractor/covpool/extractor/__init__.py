"""Sequences in, second moments out: FASTA, model networks and adapters, accumulation, extraction.

Names are handed out on first use, so that reading sequences or describing a model needs no torch.
"""

import sys
import warnings
from collections.abc import Sequence as Paths
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from lazy_loader import attach_stub

_attribute, __dir__, __all__ = attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "Region":
        warnings.warn(f"{__name__}.Region is deprecated: use Selection", DeprecationWarning, stacklevel=2)
        name = "Selection"
    return _attribute(name)


#: Modules that users of 0.1 import from where they lay then.
_MOVED = (
    {
        f"{__name__}.regions": f"{__name__}.extraction.selections",
    }
    | {
        f"{__name__}.{old}": f"{__name__}.{wing}.{old.rpartition('.')[2]}"
        for wing, modules in {
            "extraction": ("accumulate",),
            "sequences": ("fasta", "genome"),
            "models": ("checkpoints",),
            "evaluation.inputs": tuple(
                f"evaluation.{name}"
                for name in ("gene_terms", "genes", "ontology", "signal", "targets", "term_tables", "tracks")
            ),
        }.items()
        for old in modules
    }
    | {f"{__name__}.regions": f"{__name__}.extraction.selections"}
)


class _Moved(MetaPathFinder, Loader):
    """Imports a module of 0.1 from where it lies now, with a notice."""

    def find_spec(
        self, fullname: str, path: Paths[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in _MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        place = _MOVED[spec.name]
        warnings.warn(f"{spec.name} is deprecated: import {place}", DeprecationWarning, stacklevel=2)
        self._module = import_module(place)
        self._spec = self._module.__spec__
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        # Importing has just called it by its old name.
        module.__spec__ = self._spec


sys.meta_path.append(_Moved())
