"""Genomes: assemblies whose genes and regions can be asked for by name."""

from typing import Annotated

from fastapi import APIRouter, Query

from covpool.extractor.annotation.repairs import as_json
from covpool.service import schemas
from covpool.service.context import Service
from covpool.service.genomes import Registration
from covpool.service.openapi import refusals
from covpool.service.routes.pages import After, Limit, page_after
from covpool.service.tokens import allow

router = APIRouter(prefix="/v1/genomes", tags=["genomes"], dependencies=[allow("read")])


@router.get("", summary="Registered assemblies", responses=refusals(404))
def genomes(context: Service, after: After = None, limit: Limit = 100) -> schemas.GenomePage:
    """Every registered assembly, by name; `covpool genome add` registers one."""
    found = [(one.name, _body(one)) for one in context.genomes.all()]
    page, following = page_after(found, after, limit)
    return schemas.GenomePage(data=page, next=following)


@router.get("/{assembly}", summary="One assembly", responses=refusals(404))
def one(assembly: str, context: Service) -> schemas.Genome:
    """Contigs, their lengths and aliases."""
    return _body(context.genomes.get(assembly))


@router.get("/{assembly}/genes", summary="Genes of an assembly", responses=refusals(404))
def genes(
    assembly: str,
    context: Service,
    name: Annotated[str | None, Query(max_length=256, description="id, symbol or alias")] = None,
    region: Annotated[
        str | None,
        Query(max_length=256, description="`chrom:start-end`, also with `:+` or `:-`; 0-based half-open"),
    ] = None,
    after: After = None,
    limit: Limit = 100,
) -> schemas.GenePage:
    """Genes by id; with `name` those that go by it, with `region` those that share a base with it."""
    found = context.genomes.genes(assembly, called=name, within=region, after=after, limit=limit + 1)
    page = [
        schemas.Gene(
            id=gene.id,
            symbol=gene.symbol,
            aliases=list(gene.aliases),
            chrom=gene.chrom,
            start=gene.start,
            end=gene.end,
            strand=gene.strand,
            biotype=gene.biotype,
        )
        for gene in found[:limit]
    ]
    return schemas.GenePage(data=page, next=page[-1].id if len(found) > limit else None)


def _body(found: Registration) -> schemas.Genome:
    return schemas.Genome(
        name=found.name,
        digest=found.digest,
        bases=sum(found.contigs.values()),
        genes=found.genes,
        contigs=found.contigs,
        aliases=found.aliases,
        circular=sorted(found.circular),
        release=found.release,
        annotation_digest=found.annotation_digest,
        report=[schemas.Repair.model_validate(one) for one in as_json(found.report)],
    )
