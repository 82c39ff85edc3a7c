"""Extraction: one sequence through an adapter into one accumulator per layer."""

from collections.abc import Callable
from collections.abc import Sequence as Names

from covpool.extractor.accumulate import SecondMoment
from covpool.extractor.adapters.adapter import Adapter
from covpool.extractor.errors import ActivationError, SequenceError
from covpool.extractor.sequences import Sequence, normalise, reverse_complement
from covpool.store.keys import STRANDS, Strand
from covpool.store.moments import Moments


def extract(
    adapter: Adapter,
    sequence: str | Sequence,
    layers: Names[str],
    *,
    strand: Strand = "+",
    skip_tokens: int = 0,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Moments]:
    """Moments of each layer's activations over the whole sequence.

    The moments count the sequence's own bases, its own N included, or at coarser layers the tokens that
    hold at least one of them; padding that a model needs is dropped.

    Args:
        adapter: a loaded model.
        sequence: bases as text (normalised here), or a normalised `Sequence`.
        layers: names of taps; "final" is the last.
        strand: "+" as given, "-" its reverse complement, "both" the tokens of both (the moments add, the
            count doubles).
        skip_tokens: leading tokens of every layer to leave out, per strand.
        progress: called with the number of tokens done since the last call, over all layers and strands.

    Returns:
        Moments by layer name as asked, float64.

    Raises:
        SequenceError: the sequence is not DNA, or too short for `skip_tokens`.
        LayerError: the model has no such layer.
        ActivationError: activations overflowed, or did not arrive in full: a partial result is never
            returned as a whole one.
    """
    if isinstance(sequence, str):
        sequence = normalise(sequence)
    if strand not in STRANDS:
        raise ValueError(f"strand must be one of {', '.join(STRANDS)}, got {strand!r}")
    taps = {name: adapter.model.layer(name) for name in layers}
    for tap in taps.values():
        if not 0 <= skip_tokens < tap.tokens(len(sequence)):
            raise SequenceError(
                f"{sequence.name}: skip_tokens={skip_tokens} leaves none of the "
                f"{tap.tokens(len(sequence))} tokens of layer {tap.name}"
            )
    sums = {tap.name: SecondMoment(tap.width, device=adapter.device) for tap in taps.values()}
    runs = {"+": [sequence.bases], "-": [reverse_complement(sequence.bases)]}
    runs["both"] = runs["+"] + runs["-"]
    for bases in runs[strand]:
        expected = dict.fromkeys(sums, 0)
        for block in adapter.activations(bases, layers=tuple(sums)):
            if block.start != expected[block.layer]:
                raise ActivationError(
                    f"{sequence.name}: layer {block.layer} continued at token {block.start} "
                    f"instead of {expected[block.layer]}; this is a bug of the adapter"
                )
            expected[block.layer] += len(block.values)
            sums[block.layer].add(block.values[max(0, skip_tokens - block.start) :])
            if progress is not None:
                progress(len(block.values))
        for tap in taps.values():
            if expected[tap.name] != tap.tokens(len(sequence)):
                raise ActivationError(
                    f"{sequence.name}: layer {tap.name} gave {expected[tap.name]} of "
                    f"{tap.tokens(len(sequence))} tokens; nothing was kept"
                )
    return {name: sums[tap.name].moments() for name, tap in taps.items()}
