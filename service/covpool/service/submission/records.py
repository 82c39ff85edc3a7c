"""Records: the sequences of a request, which it sends or names in an assembly."""

from collections.abc import Sequence

from covpool.extractor.errors import SequenceError
from covpool.extractor.sequences.fasta import Refused
from covpool.extractor.sequences.sequences import Sequence as Bases
from covpool.service.assemblies.registry import Genomes
from covpool.service.errors import RequestError
from covpool.service.schemas import EmbeddingRequest, JobRequest
from covpool.service.settings import Settings
from covpool.service.submission.submission import read_input


def sequences_of(
    request: JobRequest, upload: bytes | None, genomes: Genomes, settings: Settings
) -> Sequence[Bases | Refused]:
    """Normalised sequences of a request in its order, from one source; `upload` is a FASTA file sent with it.

    Raises:
        RequestError: none or several sources, or more records or bases than the service takes at once.
        GenomeNotFoundError, RegionError: the assembly has no such gene or region.
        GenomeUnavailableError, GenomeFileError: its FASTA file cannot be read.
        SequenceError: no record is DNA; the message names record and position.
    """
    sequences: Sequence[Bases | Refused]
    sources = [name for name in ("input", "gene", "region") if getattr(request, name) is not None]
    if upload is not None:
        sources.append("fasta")
    if len(sources) != 1:
        named = " and ".join(repr(source) for source in sources)
        job = ", or the 'job' that computed them" if isinstance(request, EmbeddingRequest) else ""
        raise RequestError(
            f"give one of 'input' (sequences), 'gene' or 'region' (of an 'assembly'), or a FASTA file{job}; "
            + (f"there is {named}" if sources else "there is none of them")
        )
    if sources[0] in ("gene", "region"):
        sequences = _from_assembly(request, genomes, settings)
    elif request.assembly is not None:
        raise RequestError(f"'assembly' goes with 'gene' or 'region', and not with {sources[0]!r}")
    else:
        text = upload if upload is not None else request.input
        assert text is not None
        sequences = read_input(text, settings)
    for sequence in sequences:
        if isinstance(sequence, Bases) and len(sequence) > settings.max_sequence:
            raise RequestError(
                f"{sequence.name}: {len(sequence):,} bases; this service takes sequences of up to "
                f"{settings.max_sequence:,} (its setting max_sequence): cut it"
            )
    return sequences


def _from_assembly(request: JobRequest, genomes: Genomes, settings: Settings) -> list[Bases | Refused]:
    if request.assembly is None:
        raise RequestError("'gene' and 'region' need an 'assembly'; see /v1/genomes")
    asked = request.gene if request.gene is not None else request.region
    assert asked is not None
    names = [asked] if isinstance(asked, str) else asked
    if not names:
        raise RequestError("the list is empty; give at least one gene or region")
    if len(names) > settings.max_records:
        raise RequestError(f"more than {settings.max_records:,} records in one request; ask in parts")
    read = genomes.gene_sequence if request.gene is not None else genomes.region_sequence
    sequences: list[Bases | Refused] = []
    bases = 0
    for name in names:
        try:
            sequence = read(request.assembly, name)
        except SequenceError as error:
            # Like a record of a FASTA file that is not DNA: the others are not affected.
            sequences.append(Refused(name, str(error)))
            continue
        sequences.append(sequence)
        bases += len(sequence)
        if bases > settings.max_bases:
            raise RequestError(f"more than {settings.max_bases:,} bases in one request; ask in parts")
    if not bases:
        raise SequenceError(next(sequence.error for sequence in sequences if isinstance(sequence, Refused)))
    return sequences
