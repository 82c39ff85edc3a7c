"""Submission: the sequences and options of a request, checked and turned into keys."""

from dataclasses import dataclass

from covpool.extractor.errors import SequenceError
from covpool.extractor.fasta import read_fasta
from covpool.extractor.models import Model, Options, untrained_notice
from covpool.extractor.sequences import Sequence, normalise
from covpool.service.errors import RequestError
from covpool.service.offered import Offered
from covpool.service.queue import Request
from covpool.service.schemas import ExtractionOptions
from covpool.service.settings import Settings
from covpool.store.keys import MomentsKey, Recipe


@dataclass(frozen=True)
class Submission:
    """What a request asks for.

    Attributes:
        recipe: shared by all records.
        requests: the records in the order given.
        notices: what was changed in the input, and what must be known of the model.
    """

    recipe: Recipe
    requests: list[Request]
    notices: list[str]


def read_input(text: str | list[str] | bytes, settings: Settings) -> list[Sequence]:
    """Normalised sequences of a request: one string, several, FASTA text, or an uploaded FASTA file.

    Raises:
        SequenceError: something is not DNA; record and position are named.
        RequestError: more records or bases than the service takes at once.
    """
    if isinstance(text, list):
        sequences = [normalise(one, f"sequence {index}") for index, one in enumerate(text, start=1)]
    elif isinstance(text, bytes) or text.lstrip().startswith(">"):
        data = text if isinstance(text, bytes) else text.lstrip().encode("utf-8", "surrogatepass")
        sequences = []
        for sequence in read_fasta(data, label="FASTA", max_bases=settings.max_bases):
            sequences.append(sequence)
            _check_count(len(sequences), settings)
    else:
        sequences = [normalise(text, "sequence 1")]
    if not sequences:
        raise SequenceError("input: the list is empty; give at least one sequence")
    _check_count(len(sequences), settings)
    if (bases := sum(map(len, sequences))) > settings.max_bases:
        raise RequestError(f"{bases:,} bases in one request; this service takes {settings.max_bases:,}")
    return sequences


def prepare(
    sequences: list[Sequence], request: ExtractionOptions, offered: Offered, settings: Settings
) -> Submission:
    """Keys of the sequences under the request's options.

    Raises:
        ModelNotFoundError, LayerError, ConditionError: the service has no such model, the model no such
            layer or species.
        SequenceError: the options leave nothing of a sequence, or it is longer than the model takes.
    """
    model = offered.model(request.model)
    options = Options(
        strand=request.strand,
        skip_tokens=request.skip_tokens,
        condition=request.species or "",
        beyond_context=request.beyond_context,
    )
    recipe = model.recipe(request.layer, options, dtype=settings.dtype)
    for sequence in sequences:
        model.check(len(sequence), sequence.name, model.layer(request.layer), options)
    requests = [
        Request(sequence.name, MomentsKey(sequence.digest, len(sequence), recipe), sequence.bases)
        for sequence in sequences
    ]
    return Submission(recipe, requests, _notices(sequences, model))


def _notices(sequences: list[Sequence], model: Model) -> list[str]:
    untrained = [] if model.trained else [untrained_notice(model)]
    return untrained + [notice for sequence in sequences for notice in sequence.notices]


def _check_count(count: int, settings: Settings) -> None:
    if count > settings.max_records:
        raise RequestError(f"more than {settings.max_records:,} records in one request; split the file")
