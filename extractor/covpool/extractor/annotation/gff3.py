"""GFF3 genes: the gene features of a file, read once, strictly (Sequence Ontology GFF3 specification 1.26).

Lines of other features are passed over unread, apart from their having nine columns.
"""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from xopen import xopen

from covpool.extractor.annotation.genes import Gene
from covpool.extractor.errors import AnnotationError

#: Attributes that hold a gene's short name, best first, and those that hold its other names.
_SYMBOLS = ("gene", "gene_name", "Name")
_ALIASES = ("locus_tag", "gene_id", "gene_synonym", "Alias", "Name", "gene", "Dbxref", "dbxref")
_BIOTYPES = ("gene_biotype", "biotype", "gene_type")

_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Genes:
    """Genes of an annotation file, and one sentence for each that was left out."""

    genes: tuple[Gene, ...]
    notices: tuple[str, ...]


def read_genes(path: Path) -> Genes:
    """The gene features of a GFF3 file (plain, gzip or bgzip), in file order.

    Features are genes when their type is `gene`, `pseudogene` or ends in `_gene`. Several lines of one id are
    one gene that spans them, when they lie on one strand of one contig; else it is left out, with a notice.

    Raises:
        AnnotationError: the file cannot be read, is no GFF3, or holds no gene. The message names the line.
    """
    found: dict[str, Gene] = {}
    left_out: dict[str, str] = {}
    for number, columns in features(path):
        if not _is_gene(columns[2]):
            continue
        gene = _gene(columns, f"{path}, line {number}")
        other = found.get(gene.id)
        if other is None:
            found[gene.id] = gene
        elif (other.chrom, other.strand) == (gene.chrom, gene.strand):
            found[gene.id] = replace(other, start=min(other.start, gene.start), end=max(other.end, gene.end))
        else:
            left_out[gene.id] = (
                f"gene {gene.id}: lies on several strands or contigs (line {number}); left out"
            )
    if not found:
        raise AnnotationError(f"{path}: holds no gene feature; give a GFF3 file with genes")
    return Genes(
        tuple(gene for name, gene in found.items() if name not in left_out), tuple(left_out.values())
    )


def features(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and nine columns of every feature line, up to a FASTA section; errors as in `read_genes`."""
    try:
        with path.open("rb") as head:
            compressed = head.read(2) == _GZIP_MAGIC
        with xopen(path, "rb", threads=0, format="gz") if compressed else path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                line = raw.decode("utf-8").rstrip("\r\n")
                if line.startswith(("##FASTA", ">")):
                    return
                if not line.strip() or line.startswith("#"):
                    continue
                columns = line.split("\t")
                if len(columns) != 9:
                    raise AnnotationError(
                        f"{path}, line {number}: {len(columns)} columns instead of 9; this is no GFF3 file"
                    )
                yield number, columns
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: is no text ({error.reason}); give a GFF3 file") from error
    except (OSError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise AnnotationError(
            f"{path}: cannot be read ({error}); check the path, or fetch it again"
        ) from error


def _is_gene(kind: str) -> bool:
    return kind in ("gene", "pseudogene") or kind.endswith("_gene")


def _gene(columns: list[str], where: str) -> Gene:
    attributes = attributes_of(columns[8])
    named = next((attributes[name][0] for name in ("ID", *_ALIASES) if attributes.get(name)), "")
    if not named:
        raise AnnotationError(f"{where}: a gene without ID, name or locus tag; give it an ID")
    try:
        start, end = int(columns[3]) - 1, int(columns[4])
    except ValueError:
        raise AnnotationError(f"{where}: {columns[3]!r} and {columns[4]!r} are no coordinates") from None
    symbol = next((attributes[name][0] for name in _SYMBOLS if attributes.get(name)), named)
    aliases = dict.fromkeys(alias for name in _ALIASES for alias in attributes.get(name, ()))
    try:
        return Gene(
            named,
            symbol,
            unquote(columns[0]),
            start,
            end,
            "-" if columns[6] == "-" else "+",
            tuple(alias for alias in aliases if alias not in (named, symbol)),
            next((attributes[name][0] for name in _BIOTYPES if attributes.get(name)), ""),
        )
    except AnnotationError as error:
        raise AnnotationError(f"{where}: {error}") from None


def attributes_of(text: str) -> dict[str, list[str]]:
    """Values by name of a GFF3 attribute column, percent-encoding undone."""
    pairs = (one.partition("=") for one in text.split(";") if one.strip())
    return {
        name.strip(): [unquote(value).strip() for value in values.split(",") if value.strip()]
        for name, _, values in pairs
    }
