"""Errors of the extractor; every message says what, where and what to do.

ExtractionError
├── SequenceError (ValueError)      a sequence or FASTA file that is not DNA, or is damaged
├── RegionError (ValueError)        a region or selection that is none, or lies outside its contig or sequence
├── GenomeFileError (OSError)       a genome's file that cannot be read any more, or has changed
├── AnnotationError (ValueError)    an annotation of no known format, or damaged
├── ModelNotFoundError (LookupError) no bundled model, local directory or hub id of that name
├── CheckpointError (ValueError)    a checkpoint's files are missing, damaged or of another shape
├── LayerError (LookupError)        the model has no layer of that name
├── ConditionError (ValueError)     the model needs a species, knows another, or takes none
├── FitError (ValueError)           moments, targets or settings that a pooling cannot be fitted with
├── EvaluationError (ValueError)    annotation, labels or tracks that do not fit or are damaged
├── ActivationError (ArithmeticError) activations overflowed or held NaN, or did not arrive in full
├── CapacityError (MemoryError)     a sequence does not fit into the memory there is
├── OutOfMemoryError (MemoryError)  memory ran out; less at a time may fit
└── DeviceError (RuntimeError)      the device failed
"""


class ExtractionError(Exception):
    """Root of all errors raised by `covpool.extractor`."""


class SequenceError(ExtractionError, ValueError):
    """Input that is not DNA, or a damaged FASTA file."""


class RegionError(ExtractionError, ValueError):
    """A region or selection that is none, or lies outside its contig or sequence."""


class GenomeFileError(ExtractionError, OSError):
    """The file of an open genome cannot be read any more, or is not what was opened."""


class AnnotationError(ExtractionError, ValueError):
    """An annotation of no known format, or a damaged one."""


class ModelNotFoundError(ExtractionError, LookupError):
    """No model of that name."""


class CheckpointError(ExtractionError, ValueError):
    """A checkpoint that cannot be loaded exactly as published."""


class LayerError(ExtractionError, LookupError):
    """No layer of that name in this model."""


class ConditionError(ExtractionError, ValueError):
    """A species that does not fit the model."""


class FitError(ExtractionError, ValueError):
    """Moments, targets or settings that a pooling cannot be fitted with."""


class EvaluationError(ExtractionError, ValueError):
    """Annotation, labels or tracks that an evaluation cannot use."""


class ActivationError(ExtractionError, ArithmeticError):
    """Activations that must not enter a cache."""


class CapacityError(ExtractionError, MemoryError):
    """A sequence that does not fit into the memory of a device, whatever the schedule."""


class OutOfMemoryError(ExtractionError, MemoryError):
    """Memory of a device or of the host ran out; less at a time may fit."""


class DeviceError(ExtractionError, RuntimeError):
    """A device failed, whatever it was given."""
