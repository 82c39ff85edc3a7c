"""FASTA faults: messages of files that cannot be read, with the reason and the remedy."""

import re

from covpool.extractor.sequences.compression import DamagedError

#: Its name in messages.
STANDARD_INPUT = "standard input"

#: First bytes of files in other formats, and the message for each.
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (rb"\xef\xbb\xbf", "begins with a byte order mark; save it as plain text without one"),
    (rb"\xff\xfe|\xfe\xff", "is UTF-16 text; save it as plain ASCII or UTF-8 text"),
    (rb"PK\x03\x04", "is not FASTA but a zip archive; unpack it (unzip) and give the FASTA file in it"),
    (
        rb"7z\xbc\xaf|Rar!|\x1f\x9d|\x04\x22\x4d\x18",
        "is not FASTA but packed in an unsupported format; unpack it",
    ),
    (rb"\x43\x27\x41\x1a|\x1a\x41\x27\x43", "is not FASTA but .2bit; write it as FASTA (twoBitToFa)"),
    (rb"\s*<(!|\?|html)", "is not FASTA but a web page; the download failed, fetch the file itself"),
    (rb"LOCUS ", "is not FASTA but GenBank; write its sequence as FASTA"),
    (rb"ID   ", "is not FASTA but EMBL; write its sequence as FASTA"),
    (
        rb"(?s)[^>]{0,100}\0.*ustar",
        "is not FASTA but a tar archive; unpack it (tar -x), give the FASTA in it",
    ),
)


def not_fasta(line: bytes, label: str, number: int, *, first: bool) -> str:
    """Why a file with this first text line is refused; `first` if nothing precedes it."""
    if first:
        for pattern, words in _OTHERS:
            if re.match(pattern, line):
                return f"{label}: {words}"
    where = f"{label}, line {number}"
    if not line.isascii():
        return f"{where}: not FASTA, and not text in ASCII; begin with '>id'"
    if line.startswith(b"@"):
        return f"{where}: not FASTA but FASTQ, as it seems; write each read as '>id' and its bases"
    if line.count(b"\t") >= 7:
        return f"{where}: not FASTA but a table (GFF or the like); give the sequences themselves"
    shown = line[:40].decode("ascii")
    if not shown.isprintable() and "\t" not in shown:
        return f"{where}: not FASTA but binary data; give plain text that begins with '>id'"
    return f"{where}: not FASTA (text before the first '>': {shown!r}); begin with '>id'"


def no_record(label: str, size: int, *, pipe: bool) -> str:
    """Why a file without a record is refused; `size` is its number of bytes."""
    if pipe and not size:
        return f"{label}: holds no FASTA record: nothing came; see the message of the command that writes it"
    return f"{label}: holds no FASTA record; begin with '>id' and bases below it"


def not_ascii(text: bytes, part: str, label: str, line: int, record: int) -> str:
    """Why a letter outside ASCII is refused."""
    character = next((letter for letter in text.decode("utf-8", "replace") if ord(letter) > 127), "?")
    return (
        f"{label}, line {line}: record {record}: {part} holds {character!r}, which is not ASCII; replace it"
    )


def not_text(byte: int, label: str, line: int, record: int) -> str:
    """Why a byte that is not UTF-8 is refused."""
    return (
        f"{label}, line {line}: byte {byte:#04x} near record {record} is not text in ASCII; "
        "the file is binary or damaged, or a name holds a letter to replace"
    )


def damaged(error: DamagedError, label: str, records: int, *, pipe: bool) -> str:
    """The damage of a packed file, or of the packed output of a command."""
    remedy = error.remedy
    if error.cut and pipe:
        remedy = "truncated: see why the command that writes it ended early"
    where = f"in or after record {records}" if records else "before its first record, or not FASTA"
    return f"{label}: damaged {where} ({error}); {remedy}"
