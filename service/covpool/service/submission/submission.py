"""Submission: the sequences and options of a request, checked and turned into keys.

A record that is not DNA or does not fit the model becomes a rejected record of the job; the others are not
affected. The request itself is refused only when all records are rejected.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from covpool.extractor.errors import SequenceError
from covpool.extractor.extraction.workload import Workload
from covpool.extractor.models.models import Layer, Model, untrained_notice
from covpool.extractor.models.options import Options
from covpool.extractor.sequences.fasta import Refused, read_records
from covpool.extractor.sequences.sequences import Sequence as Bases
from covpool.extractor.sequences.sequences import normalise
from covpool.service.errors import RequestError
from covpool.service.queue import RejectedRecord, Request
from covpool.service.schemas import ExtractionOptions, ModelOptions
from covpool.service.settings import Settings
from covpool.service.submission.served import Served
from covpool.store.values.keys import Recipe


@dataclass(frozen=True)
class Submission:
    """A checked request.

    Attributes:
        recipe: the recipe of all records.
        requests: the records in order; at least one is not rejected.
        notices: changes to the input, and remarks on the model.
    """

    recipe: Recipe
    requests: list[Request | RejectedRecord]
    notices: list[str]


def read_input(text: str | list[str] | bytes, settings: Settings) -> list[Bases | Refused]:
    """Records of a request: one string, several, FASTA text, or an uploaded FASTA file.

    Raises:
        SequenceError: no record is DNA, or a FASTA file is damaged; the message names record and position.
        RequestError: more records or bases than the service takes at once.
    """
    records: list[Bases | Refused] = []
    for record in _records(text, settings):
        records.append(record)
        if len(records) > settings.max_records:
            raise RequestError(
                f"more than {settings.max_records:,} records in one request; send them in parts"
            )
    if not records:
        raise SequenceError("input: the list is empty; give at least one sequence")
    refused = [record for record in records if isinstance(record, Refused)]
    if len(refused) == len(records):
        raise SequenceError(refused[0].error)
    bases = sum(len(record) for record in records if isinstance(record, Bases))
    if bases > settings.max_bases:
        raise RequestError(
            f"{bases:,} bases in one request; this service takes {settings.max_bases:,}: send fewer at a time"
        )
    return records


def prepare(
    sequences: Sequence[Bases | Refused], request: ExtractionOptions, served: Served, settings: Settings
) -> Submission:
    """Keys of the records under the request's options.

    Raises:
        ModelNotFoundError, LayerError, ConditionError: the service has no such model, the model no such
            layer or species.
        SequenceError: the options leave no token of any sequence, or all are longer than the model takes.
    """
    model = served.model(request.model)
    options = options_of(request)
    recipe = model.recipe(request.layer, options, dtype=settings.dtype)
    layer = model.layer(request.layer)
    requests = [_request(sequence, recipe, model, layer, options) for sequence in sequences]
    rejected = [prepared for prepared in requests if isinstance(prepared, RejectedRecord)]
    if len(rejected) == len(requests):
        raise SequenceError(rejected[0].error)
    return Submission(recipe, requests, [*_notices(sequences, model)])


def options_of(request: ModelOptions) -> Options:
    """The options of a request, other than model and layer."""
    return Options(
        strand=request.strand,
        skip_tokens=request.skip_tokens,
        condition=request.species or "",
        beyond_context=request.beyond_context,
    )


def require_options_of(recipe: Recipe, request: ExtractionOptions) -> None:
    """Refuse options that differ from those of the job whose results are requested.

    Raises:
        RequestError: names the first such option.
    """
    options = Options.of(recipe)
    own = {
        "model": recipe.model,
        "layer": recipe.layer,
        "strand": options.strand,
        "skip_tokens": options.skip_tokens,
        "species": options.condition or None,
        "beyond_context": options.beyond_context,
    }
    for name, value in own.items():
        if name in request.model_fields_set and getattr(request, name) not in (value, None):
            raise RequestError(
                f"{name}: the job was submitted with {value!r}, which holds; leave it out, or submit the "
                "sequences again"
            )


def _records(text: str | list[str] | bytes, settings: Settings) -> Iterator[Bases | Refused]:
    if isinstance(text, bytes) or (isinstance(text, str) and text.lstrip().startswith((">", "#", ";"))):
        data = text if isinstance(text, bytes) else text.lstrip().encode("utf-8", "surrogatepass")
        yield from read_records(data, label="FASTA", max_bases=settings.max_bases)
        return
    for index, sequence in enumerate([text] if isinstance(text, str) else text, start=1):
        name = f"sequence {index}"
        try:
            yield normalise(sequence, name)
        except SequenceError as error:
            yield Refused(name, str(error))


def _request(
    sequence: Bases | Refused, recipe: Recipe, model: Model, layer: Layer, options: Options
) -> Request | RejectedRecord:
    if isinstance(sequence, Refused):
        return RejectedRecord(sequence.name, sequence.error)
    try:
        model.check(len(sequence), sequence.name, layer, options)
    except SequenceError as error:
        return RejectedRecord(sequence.name, str(error), len(sequence))
    return Request.of(Workload.of(sequence, [recipe]), model)


def _notices(sequences: Sequence[Bases | Refused], model: Model) -> Iterator[str]:
    if not model.trained:
        yield untrained_notice(model)
    for sequence in sequences:
        if isinstance(sequence, Bases):
            yield from sequence.notices
