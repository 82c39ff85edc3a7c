"""Sequences in, second moments out: FASTA, model networks and adapters, accumulation, extraction.

Names are handed out on first use, so that reading sequences or describing a model needs no torch.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
