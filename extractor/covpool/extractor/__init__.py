"""Sequences in, second moments out: FASTA, model networks and adapters, accumulation, extraction.

Names are handed out on first use, so that reading sequences or describing a model needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from covpool.extractor.accumulate import SecondMoment as SecondMoment
    from covpool.extractor.adapters.adapter import Adapter as Adapter
    from covpool.extractor.adapters.adapter import Block as Block
    from covpool.extractor.adapters.registry import load_adapter as load_adapter
    from covpool.extractor.errors import ActivationError as ActivationError
    from covpool.extractor.errors import CheckpointError as CheckpointError
    from covpool.extractor.errors import ConditionError as ConditionError
    from covpool.extractor.errors import ExtractionError as ExtractionError
    from covpool.extractor.errors import LayerError as LayerError
    from covpool.extractor.errors import ModelNotFoundError as ModelNotFoundError
    from covpool.extractor.errors import SequenceError as SequenceError
    from covpool.extractor.extraction import extract as extract
    from covpool.extractor.extraction import extract_many as extract_many
    from covpool.extractor.fasta import read_fasta as read_fasta
    from covpool.extractor.models import Layer as Layer
    from covpool.extractor.models import Model as Model
    from covpool.extractor.models import Options as Options
    from covpool.extractor.models import bundled_models as bundled_models
    from covpool.extractor.models import describe as describe
    from covpool.extractor.sequences import Sequence as Sequence
    from covpool.extractor.sequences import normalise as normalise
    from covpool.extractor.sequences import reverse_complement as reverse_complement

_HOME = {
    "ActivationError": "errors",
    "Adapter": "adapters.adapter",
    "Block": "adapters.adapter",
    "CheckpointError": "errors",
    "ConditionError": "errors",
    "ExtractionError": "errors",
    "Layer": "models",
    "LayerError": "errors",
    "Model": "models",
    "ModelNotFoundError": "errors",
    "Options": "models",
    "SecondMoment": "accumulate",
    "Sequence": "sequences",
    "SequenceError": "errors",
    "bundled_models": "models",
    "describe": "models",
    "extract": "extraction",
    "extract_many": "extraction",
    "load_adapter": "adapters.registry",
    "normalise": "sequences",
    "read_fasta": "fasta",
    "reverse_complement": "sequences",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
