"""Attributes: column nine of GFF3 (`name=value;`) and GTF (`name "value";`), as their producers write them.

Values may be quoted in both, and hold semicolons then; blanks may stand around `=`.
"""

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    import pyarrow as pa

#: A quotation mark that no other closes before the value ends is a character like others: 5" end.
_GFF3 = re.compile(r'\s*([^=;]*?)\s*=\s*("[^"]*"(?=\s*(?:;|$))|[^;]*)\s*(?:;|$)')
_GTF = re.compile(r'\s*([^\s=";]+)(?:\s*=\s*|\s+)("[^"]*"|[^;]*)\s*(?:;|$)')


def of_gff3(text: str) -> dict[str, list[str]]:
    """Values by name of a GFF3 attribute column, quotes taken off and percent-encoding undone."""
    if '"' in text:
        pairs = [(found[1], found[2].strip()) for found in _GFF3.finditer(text)]
        pairs = [(name, value[1:-1] if _is_quoted(value) else value) for name, value in pairs]
    else:
        pairs = [(name, value) for name, _, value in (one.partition("=") for one in text.split(";"))]
    found = {
        name.strip(): [value.strip() for value in values.split(",") if value.strip()]
        for name, values in pairs
        if name.strip()
    }
    if "%" in text:
        found = {name: [unquote(value).strip() for value in values] for name, values in found.items()}
    return found


def of_gtf(text: str) -> dict[str, list[str]]:
    """Values by name of a GTF attribute column; a name may come several times (`tag`)."""
    found: dict[str, list[str]] = {}
    for name, value in _GTF.findall(text):
        if value := value.strip().strip('"').strip():
            found.setdefault(name, []).append(value)
    return found


def bare_id(text: str) -> str:
    """The id that AUGUSTUS writes alone into column nine; "" where there is something else."""
    text = text.strip().strip(';"').strip()
    return "" if re.search(r'[\s="]', text) else text


def gff3_values(attributes: "pa.ChunkedArray", name: str) -> "pa.Array":
    """Values of one GFF3 attribute, still encoded, without quotes; null where it is absent."""
    return _extracted(
        attributes,
        # Most lines begin with it, or with their ID: far faster than to seek it.
        rf'^(?:ID=[^;"]*;)?{name}=(?P<x>[^;"]+)(?:;|$)',
        rf'^(?:[^;="]*(?:=(?:\s*"[^"]*"\s*|[^;"]*))?;)*?\s*{name}\s*=\s*(?P<x>"[^"]*"|[^;]+)',
        rf"(?:^|;)\s*{name}\s*=\s*(?P<x>[^;]+)",
    )


def gtf_values(attributes: "pa.ChunkedArray", name: str) -> "pa.Array":
    """Values of one GTF attribute, quoted or not; null where it is absent or empty."""
    return _extracted(
        attributes,
        rf'^(?:[^";]*(?:"[^"]*"[^";]*)*;)*?\s*{name}[ \t]+(?P<x>"[^"]*"|[^\s";]+)',
        rf'(?:^|;)\s*{name}[ \t]+(?P<x>"[^"]*"|[^\s";]+)',
    )


def gene_and_transcript(attributes: "pa.ChunkedArray") -> "tuple[pa.Array, pa.Array]":
    """Values of gene_id and transcript_id in GTF; null where one is absent or empty."""
    import pyarrow.compute as pc

    # One search where they stand side by side; no value holds a quotation mark behind the name.
    found = pc.extract_regex(
        attributes,
        r'(?:^|;)\s*gene_id "(?P<gene>[^"]*)";\s*(?:gene_version "[^"]*";\s*)?transcript_id "(?P<of>[^"]*)"',
    ).combine_chunks()
    genes, transcripts = (pc.struct_field(found, name) for name in ("gene", "of"))
    missing = found.is_null()
    if missing.true_count:
        rest = attributes.filter(missing)
        genes = pc.replace_with_mask(genes, missing, gtf_values(rest, "gene_id"))
        transcripts = pc.replace_with_mask(transcripts, missing, gtf_values(rest, "transcript_id"))
    return _filled(genes), _filled(transcripts)


def _extracted(attributes: "pa.ChunkedArray", *patterns: str) -> "pa.Array":
    """What the first pattern that matches finds as x."""
    import pyarrow.compute as pc

    found = pc.struct_field(pc.extract_regex(attributes, patterns[0]), "x").combine_chunks()
    for pattern in patterns[1:]:
        missing = found.is_null()
        if not missing.true_count:
            break
        more = pc.struct_field(pc.extract_regex(attributes.filter(missing), pattern), "x")
        found = pc.replace_with_mask(found, missing, more.combine_chunks())
    return _filled(found)


def _filled(values: "pa.Array") -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    values = pc.utf8_trim(values, characters='" \t')
    empty = pc.equal(values, "").fill_null(False)
    return pc.if_else(empty, pa.scalar(None, pa.string()), values) if empty.true_count else values


def _is_quoted(value: str) -> bool:
    return len(value) > 1 and value.startswith('"') and value.endswith('"')


def first(values: dict[str, list[str]], *names: str) -> str:
    """The first value of the first of these attributes that has any; "" where none has."""
    for name in names:
        if found := values.get(name):
            return found[0]
    return ""
