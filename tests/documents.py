"""The project's documents as tests see them: files, fenced blocks, links, headings."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: Where documents and what they name lie; a path within a room may leave out the package (`store/codecs`).
ROOMS = ("extractor", "store", "service", "clients")
FOLDERS = (*ROOMS, "tests", "benchmarks", "scripts", "docs", "docker", "examples")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def documents() -> list[Path]:
    """Every Markdown file of the project."""
    found = [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))]
    return sorted(found)


def blocks(document: Path, *languages: str) -> list[str]:
    """Fenced blocks of these languages, in their order."""
    found = _BLOCK.findall(document.read_text(encoding="utf-8"))
    return [text for language, text in found if language in languages]


def spans(document: Path) -> list[str]:
    """Code within sentences."""
    text = _BLOCK.sub("", document.read_text(encoding="utf-8"))
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


def commands(block: str) -> list[str]:
    """Lines of a block without their comments, continued ones joined."""
    joined = re.sub(r"\\\n\s*", "", block)
    lines = (re.sub(r"\s+#\s.*$", "", line).strip() for line in joined.splitlines())
    return [line.removeprefix("$ ") for line in lines if line]


def links(document: Path) -> Iterator[str]:
    """Targets of links inside the project, outside of code."""
    text = _BLOCK.sub("", document.read_text(encoding="utf-8"))
    for target in _LINK.findall(re.sub(r"`[^`]*`", "", text)):
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors(document: Path) -> set[str]:
    """What can follow `#` in a link to the document, as GitHub and GitLab make it of headings."""
    text = _BLOCK.sub("", document.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
