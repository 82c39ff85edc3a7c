"""GenBank flat files: their features, parsed by Biopython."""

import io
import warnings
from pathlib import Path
from typing import Any

from covpool.extractor.annotation.features import CDS, EXON, Features, GeneLine, PartColumns
from covpool.extractor.annotation.lines import open_text
from covpool.extractor.annotation.repairs import Repairs
from covpool.extractor.errors import AnnotationError

#: Qualifiers that tie the features of a gene together, best first.
_KEYS = ("locus_tag", "gene")
_STRANDS = {1: "+", -1: "-"}


def read_genbank(path: Path, repairs: Repairs) -> Features:
    """Genes, and exons and CDS of the features that share their locus tag (or gene name).

    A gene that crosses the origin of a circular record ends beyond it: [end - 10, length + 10).

    Raises:
        AnnotationError: the file cannot be read, or is no GenBank.
    """
    from Bio import BiopythonWarning, SeqIO

    found = Features([], {}, set(), PartColumns().parts())
    parts: list[tuple[int, str, int, int, int, str]] = []
    try:
        with (
            open_text(path) as raw,
            io.TextIOWrapper(raw, encoding="latin-1") as file,
            warnings.catch_warnings(record=True, category=BiopythonWarning) as oddities,
        ):
            warnings.simplefilter("always", BiopythonWarning)
            for record in SeqIO.parse(file, "genbank"):  # type: ignore[no-untyped-call]
                if record.annotations.get("topology") == "circular":
                    found.circular.add(record.id)
                found.other_names[record.id] = (record.name,)
                for feature in record.features:
                    _add(feature, record, found, parts)
        for oddity in oddities:
            repairs.add("genbank", str(oddity.message))
    except (OSError, EOFError, ValueError) as error:
        raise AnnotationError(f"{path}: cannot be read as GenBank ({error}); fetch it again") from error
    columns = PartColumns()
    if parts:
        columns.add(*(list(values) for values in zip(*parts, strict=True)))
    found.parts = columns.parts()
    return found


def _add(feature: Any, record: Any, found: Features, parts: list[Any]) -> None:
    values = feature.qualifiers
    identity = next((values[key][0] for key in _KEYS if key in values), "")
    places = [
        (int(one.start), int(one.end), one.strand)
        for one in (feature.location.parts if feature.location else ())
        if one.ref is None
    ]
    if not places:
        return
    if feature.type == "gene":
        start, end = _span(places, len(record.seq), record.id in found.circular)
        names = [name for key in ("gene", "gene_synonym", "db_xref") for name in values.get(key, ())]
        aliases = [part.strip() for name in names for part in name.split(";")]
        found.genes.append(
            GeneLine(
                identity,
                values.get("gene", [identity])[0],
                record.id,
                start,
                end,
                _STRANDS.get(feature.location.strand, "."),  # type: ignore[arg-type]
                tuple(dict.fromkeys(aliases)),
                "pseudogene" if "pseudo" in values or "pseudogene" in values else "",
                "trans_splicing" in values,
            )
        )
    elif identity and (feature.type == "CDS" or feature.type == "exon" or feature.type.endswith("RNA")):
        # GenBank does not say which mRNA a CDS is of: all are one transcript, the gene's.
        kind = CDS if feature.type == "CDS" else EXON
        parts += [(kind, record.id, start, end, strand or 0, identity) for start, end, strand in places]


def _span(places: list[tuple[int, int, Any]], length: int, circular: bool) -> tuple[int, int]:
    start, end = min(one[0] for one in places), max(one[1] for one in places)
    if circular and start == 0 and end == length and len(places) > 1:
        # join(last part of the record, first part of it): it goes on behind the origin.
        last = max(one[0] for one in places)
        return last, length + min(one[1] for one in places)
    return start, end
