"""Genomes: registered assemblies with their genes; every gene of an assembly as a job."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from covpool.extractor.annotation.features.repairs import as_json
from covpool.service import schemas
from covpool.service.assemblies.plan import ALL_CLASSES, names_of
from covpool.service.assemblies.registrations import Registration
from covpool.service.database.tokens import allow
from covpool.service.http.context import Context, Service
from covpool.service.http.openapi import body_of, refusals
from covpool.service.http.reading import read_json
from covpool.service.http.responses.answers import After, Limit, deprecated, deprecations, page_after
from covpool.service.http.responses.waiting import Preferred, wait_for
from covpool.service.http.routes.jobs import enqueue, job_response, require_room
from covpool.service.submission.genome_jobs import plan_genome, prepare_genome

router = APIRouter(prefix="/v1/genomes", tags=["genomes"])


@router.post(
    "",
    summary="Cache every gene of an assembly",
    response_model=schemas.Job,
    responses={
        202: {"model": schemas.Job, "description": "Accepted; follow Location"},
        **refusals(400, 404, 415),
    },
    openapi_extra=body_of(schemas.GenomeRequest, selections=ALL_CLASSES),
    dependencies=[allow("submit")],
)
async def precompute(request: Request, context: Service, prefer: Preferred) -> Response:
    """Queue what is not cached of every gene, by selection: a job whose records are the genes.

    200 when everything is cached, else 202; the same request is the same job. A gene that cannot be read or
    run is a failed record with the reason. The results of a gene are found by its id, symbol or alias in
    `/v1/index`. Large genomes take a while to plan, before there is an answer.
    """
    body = await read_json(request, schemas.GenomeRequest)
    job = await run_in_threadpool(_submit, body, context)
    current = await wait_for(context, job, prefer.seconds(default=0))
    answer = await run_in_threadpool(job_response, current, context, deprecations(body))
    return prefer.applied(deprecated(body, answer))


@router.get("", summary="Registered assemblies", responses=refusals(404), dependencies=[allow("read")])
def genomes(context: Service, after: After = None, limit: Limit = 100) -> schemas.GenomePage:
    """Every registered assembly, by name; `covpool genome add` registers one."""
    bodies = [_body(registration) for registration in context.genomes.all()]
    return page_after(schemas.GenomePage, bodies, after, limit)


@router.get(
    "/{assembly}",
    summary="One assembly",
    responses=refusals(404),
    dependencies=[allow("read")],
    operation_id="one_v1_genomes__assembly__get",
)
def genome(assembly: str, context: Service) -> schemas.Genome:
    """Contigs, their lengths and aliases."""
    return _body(context.genomes.get(assembly))


@router.get(
    "/{assembly}/genes",
    summary="Genes of an assembly",
    responses=refusals(404),
    dependencies=[allow("read")],
)
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
    """Genes by id; with `name` those with this name, with `region` those that overlap it."""
    matches = context.genomes.genes(assembly, called=name, within=region, after=after, limit=limit + 1)
    page = [schemas.Gene.model_validate(gene, from_attributes=True) for gene in matches[:limit]]
    return schemas.GenePage(data=page, next=page[-1].id if len(matches) > limit else None)


def _submit(request: schemas.GenomeRequest, context: Context) -> str:
    plan = plan_genome(request, context.genomes, context.served, context.store, context.settings)
    submission = prepare_genome(plan)
    require_room(submission, context)
    # Before the job exists, so that each result is found by its gene as soon as it is ready.
    context.store.names.add(names_of(plan))
    return enqueue(submission, "bulk", context)


def _body(registration: Registration) -> schemas.Genome:
    return schemas.Genome(
        name=registration.name,
        digest=registration.digest,
        bases=sum(registration.contigs.values()),
        genes=registration.genes,
        contigs=registration.contigs,
        aliases=registration.aliases,
        circular=sorted(registration.circular),
        release=registration.release,
        annotation_digest=registration.annotation_digest,
        report=[schemas.Repair.model_validate(repair) for repair in as_json(registration.report)],
    )
