"""Extraction: sequences through an adapter into one accumulator per sequence and layer."""

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Ordered
from dataclasses import replace

from covpool.extractor.accumulate import SecondMoment
from covpool.extractor.adapters.adapter import Adapter, Block
from covpool.extractor.adapters.batching import batches, usable_bytes
from covpool.extractor.errors import ActivationError
from covpool.extractor.models import Layer, Options
from covpool.extractor.sequences import Sequence, as_sequence, reverse_complement
from covpool.store.keys import Strand
from covpool.store.moments import Moments

Progress = Callable[[int], None]


def extract(
    adapter: Adapter,
    sequence: str | Sequence,
    layers: Ordered[str],
    *,
    strand: Strand = "+",
    skip_tokens: int = 0,
    condition: str = "",
    beyond_context: bool = False,
    progress: Progress | None = None,
) -> dict[str, Moments]:
    """Moments of each layer's activations over the whole sequence.

    The moments count the sequence's own bases, its own N included, or at coarser layers the tokens that
    hold at least one of them; padding that a model needs is dropped.

    Args:
        adapter: a loaded model.
        sequence: bases as text (normalised here), or a normalised `Sequence`.
        layers: names of taps; "final" is the last. All are taken in one pass.
        strand, skip_tokens, condition, beyond_context: see `Options`.
        progress: called with the number of tokens done since the last call, over all layers and strands.

    Returns:
        Moments by layer name as asked, float64.

    Raises:
        SequenceError: the sequence is not DNA, too short for `skip_tokens`, or longer than the model is
            documented for.
        LayerError, ConditionError: the model has no such layer or species.
        ActivationError: activations overflowed, or did not arrive in full: a partial result is never
            returned as a whole one.
    """
    options = Options(
        strand=strand, skip_tokens=skip_tokens, condition=condition, beyond_context=beyond_context
    )
    return extract_batch(adapter, [as_sequence(sequence)], layers, options, progress)[0]


def extract_many(
    adapter: Adapter,
    sequences: Ordered[Sequence],
    layers: Ordered[str],
    options: Options | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[int, dict[str, Moments]]]:
    """Index and moments of many sequences, as they become ready; the longest come first.

    Short sequences share a forward under the adapter's budget. A sequence's moments do not depend on its
    batch mates. Arguments, result and errors as in `extract`.
    """
    sums = sum(adapter.model.layer(name).width ** 2 for name in layers)
    # A member holds its float64 sums and, at the end, its float64 result.
    most = usable_bytes(adapter.device) // max(1, 16 * sums)
    for group in batches([len(sequence) for sequence in sequences], adapter.budget, most):
        members = [sequences[index] for index in group]
        found = extract_batch(adapter, members, layers, options or Options(), progress)
        yield from zip(group, found, strict=True)


def extract_batch(
    adapter: Adapter,
    sequences: Ordered[Sequence],
    layers: Ordered[str],
    options: Options,
    progress: Progress | None = None,
) -> list[dict[str, Moments]]:
    """Moments of sequences that share every forward; arguments, result and errors as in `extract`."""
    taps = {name: adapter.model.layer(name) for name in layers}
    for sequence in sequences:
        for tap in taps.values():
            adapter.model.check(len(sequence), sequence.name, tap, options)
    sums = [
        {tap.name: _Sums(adapter, sequence, tap, options.skip_tokens) for tap in taps.values()}
        for sequence in sequences
    ]
    for reverse in {"+": (False,), "-": (True,), "both": (False, True)}[options.strand]:
        strands = [replace(one, bases=reverse_complement(one.bases)) if reverse else one for one in sequences]
        names = [tap.name for tap in taps.values()]
        for index, block in adapter.batch(strands, layers=names, condition=options.condition):
            sums[index][block.layer].add(block)
            if progress is not None:
                progress(len(block.values))
        for of_sequence in sums:
            for of_layer in of_sequence.values():
                of_layer.end_strand()
    return [{name: found[tap.name].total.moments() for name, tap in taps.items()} for found in sums]


class _Sums:
    """The accumulator of one sequence and layer, and the tokens that have to arrive."""

    def __init__(self, adapter: Adapter, sequence: Sequence, layer: Layer, skip: int) -> None:
        self.total = SecondMoment(layer.width, device=adapter.device)
        self._where = f"{sequence.name}: layer {layer.name}"
        self._tokens = layer.tokens(len(sequence))
        self._skip = skip
        self._arrived = 0

    def add(self, block: Block) -> None:
        if block.start != self._arrived:
            raise ActivationError(
                f"{self._where} continued at token {block.start} instead of {self._arrived}; "
                "this is a bug of the adapter"
            )
        self._arrived += len(block.values)
        self.total.add(block.values[max(0, self._skip - block.start) :])

    def end_strand(self) -> None:
        if self._arrived != self._tokens:
            raise ActivationError(
                f"{self._where} gave {self._arrived} of {self._tokens} tokens; nothing was kept"
            )
        self._arrived = 0
