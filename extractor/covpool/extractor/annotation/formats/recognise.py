"""The format of an annotation file, recognised from many lines, because single lines may be malformed."""

import re
from collections import Counter
from pathlib import Path

from covpool.extractor.annotation.formats.lines import sample
from covpool.extractor.errors import AnnotationError

#: Number of lines that are examined.
_LINES = 5000

#: Column nine of GTF: a name, a blank and a value. AUGUSTUS writes bare IDs of genes and transcripts into it,
#: which do not identify the format.
_GTF = re.compile(r'(?:^|;)\s*(?:(?:gene_id|transcript_id)\s+[^\s;=]|[\w.-]+\s+")')


def format_of(path: Path) -> str:
    """gff3, gtf, bed or genbank; gff3 if no line identifies the format.

    Raises:
        AnnotationError: the file cannot be read, or is EMBL.
    """
    lines = sample(path, _LINES)
    if any(line.startswith("LOCUS ") for line in lines):
        return "genbank"
    if lines and re.match(r"ID   \S+;", lines[0]):
        raise AnnotationError(f"{path}: is EMBL, which is not supported; give GenBank or GFF3")
    counts = Counter(map(_shape, lines))
    return max(("gff3", "gtf", "bed"), key=lambda name: counts[name])


def _shape(line: str) -> str:
    columns = line.split("\t")
    if len(columns) >= 3 and all(cell.strip().isdigit() for cell in columns[1:3]):
        return "bed"
    if len(columns) < 9:
        return ""
    text = " ".join(columns[8:])
    if "=" in text.split('"')[0]:
        return "gff3"
    return "gtf" if _GTF.search(text) else ""
