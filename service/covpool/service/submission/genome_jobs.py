"""Genome jobs: every gene of a registered assembly as a job whose records are the genes.

`covpool precompute` plans from an annotation; this module plans from the registration, without torch. Bases
are read when their tasks are queued.
"""

from collections.abc import Iterator
from dataclasses import replace

from covpool.extractor.errors import SequenceError
from covpool.extractor.models.models import untrained_notice
from covpool.extractor.models.options import Options
from covpool.service.assemblies.plan import ALL_CLASSES, Locus, Plan, locus_of, make_plan
from covpool.service.assemblies.registrations import Registration
from covpool.service.assemblies.registry import Genomes
from covpool.service.errors import RequestError
from covpool.service.queue import RejectedRecord, Request
from covpool.service.schemas import GenomeRequest
from covpool.service.settings import Settings
from covpool.service.submission.served import Served
from covpool.service.submission.submission import Submission
from covpool.store.store import Store


def plan_genome(
    request: GenomeRequest, genomes: Genomes, served: Served, store: Store, settings: Settings
) -> Plan:
    """The plan of a request; it lists the reason for each gene that cannot be read or is too long.

    Raises:
        GenomeNotFoundError, ModelNotFoundError, LayerError, ConditionError: there is no such assembly, model,
            layer or species.
        GenomeUnavailableError: the assembly's FASTA file is missing or differs from the registered one.
        RequestError: the flank is longer than any sequence the service takes, or the assembly has no genes,
            or was registered before selections were kept.
    """
    assembly = genomes.get(request.assembly)
    model = served.model(request.model)
    named = {model.layer(name).name for name in request.layers or (None,)}
    options = Options(
        strand=request.strand,
        skip_tokens=request.skip_tokens,
        condition=request.species or "",
        beyond_context=request.beyond_context,
    )
    model.check_condition(options.condition)
    if unknown := [name for name in request.regions if name not in ALL_CLASSES]:
        raise RequestError(f"regions: {unknown[0]!r} is not one of {', '.join(ALL_CLASSES)}")
    if request.flank > settings.max_sequence:
        raise RequestError(
            f"flank: this service takes sequences of up to {settings.max_sequence:,} bases; ask for fewer"
        )
    return make_plan(
        store,
        _loci(genomes, assembly, flank=request.flank, asked=frozenset(request.regions)),
        genomes.file(assembly),
        assembly=assembly.name,
        model=model,
        # Always in one order, so that the order of a request's lists does not change the job.
        layers=tuple(layer.name for layer in model.layers if layer.name in named),
        options=options,
        dtype=settings.dtype,
        # Workers pack for their own device; nothing is packed here.
        device="cpu",
        longest=settings.max_sequence,
    )


def prepare_genome(plan: Plan) -> Submission:
    """The genes of a plan as records, by id.

    Raises:
        SequenceError: no gene can be run.
        RequestError: the plan has no genes.
    """
    records: dict[str, Request | RejectedRecord] = {}
    for item in plan.items:
        named = {name for _, name in item.workload.keys(plan.model)}
        selections = tuple(selection for selection in item.workload.selections if selection.name in named)
        wanted = Request.of(replace(item.workload, selections=selections), plan.model)
        for locus in item.loci:
            gene = locus.gene.id
            if wanted.keys:
                records[gene] = replace(wanted, workload=replace(wanted.workload, name=gene))
            else:
                why = f"{gene}: no token of {', '.join(plan.layers)} lies in the classes asked for"
                records[gene] = RejectedRecord(gene, why, item.workload.length)
    records |= {gene: RejectedRecord(gene, reason) for gene, reason in plan.refused.items()}
    if not records:
        raise RequestError(f"{plan.assembly}: no gene of it has a base in the classes asked for")
    rejected = [record for record in records.values() if isinstance(record, RejectedRecord)]
    if len(rejected) == len(records):
        raise SequenceError(rejected[0].error)
    notices = [] if plan.model.trained else [untrained_notice(plan.model)]
    return Submission(plan.recipes[0], [records[gene] for gene in sorted(records)], notices)


def _loci(genomes: Genomes, assembly: Registration, *, flank: int, asked: frozenset[str]) -> Iterator[Locus]:
    classes = [name for name in ALL_CLASSES if name in asked]
    for registered in genomes.known_genes(assembly.name):
        gene = registered.gene
        if unknown := registered.unknown(classes):
            raise RequestError(
                f"{assembly.name}: was registered before {', '.join(unknown)} was known; register it anew "
                "(covpool genome add), or leave it out"
            )
        locus = locus_of(
            gene,
            registered.own,
            assembly.contigs[gene.chrom],
            circular=gene.chrom in assembly.circular,
            flank=flank,
            classes=classes,
            digest=registered.digest,
        )
        if locus is not None:
            yield locus
