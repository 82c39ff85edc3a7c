"""Cells of terms: GO:0000003,GO:0000004 and the forms in which programs write such lists.

A cell holds terms only if it holds nothing else: a text that mentions a term is not a cell of terms.
"""

import re

from covpool.extractor.evaluation.inputs.ontology import Ontology

#: Texts that programs write for no term.
_NOTHING = frozenset(("", "-", "--", "---", ".", "na", "n/a", "#n/a", "nan", "none", "null", "no go terms"))
#: Texts that may follow an id: "(InterPro)", "[IEA]", DAVID's "~name", Trinotate's "^aspect^name", " ! name",
#: " // name".
_TAIL = re.compile(r"[\s,;|`]*|\s*\([^()]*\)[\s,;|]*|\s*\[[^\[\]]*\][\s,;|]*|\s*(?:~|\^|!|//).*", re.DOTALL)


class TermCells:
    """Reads cells with ids of one ontology; GO:0000003 may be GO_0000003, P:GO:0000003 or a web address.

    Attributes:
        example: a term of the ontology.
    """

    def __init__(self, ontology: Ontology) -> None:
        prefixes = sorted({term.partition(":")[0] for term in (*ontology.names, *ontology.replaced)})
        prefix_pattern = "|".join(map(re.escape, prefixes))
        start = rf"(?:[PFC]:\s?)?(?:https?://\S*/)?(?:{prefix_pattern})[:_]\w+"
        self.example = min(ontology.names)
        self._prefix = prefixes[0] if len(prefixes) == 1 else ""
        self._split = re.compile(rf"(?:[\s,;|`]|//+)+(?={start})", re.IGNORECASE)
        self._item = re.compile(
            rf"(?:[PFC]:\s?)?(?:https?://\S*/)?(?P<prefix>{prefix_pattern})[:_](?P<number>\w+)", re.IGNORECASE
        )
        self._named = re.compile(rf"[^\[\]].*\[(?P<term>(?:{prefix_pattern}):\w+)\]\s*", re.DOTALL)
        self._spelling = {prefix.casefold(): prefix for prefix in prefixes}

    def terms(self, cell: str) -> list[str] | None:
        """Ids of a cell of terms, [] for an empty cell, None for other text."""
        text = cell.strip()
        if text.casefold() in _NOTHING:
            return []
        if not self._item.match(text):
            return None
        ids = []
        for item in self._split.split(text):
            match = self._item.match(item)
            if match is None or not _TAIL.fullmatch(item, match.end()):
                return None
            ids.append(f"{self._spelling[match['prefix'].casefold()]}:{match['number']}")
        return ids

    def named(self, cell: str) -> list[str] | None:
        """The same for UniProt's lists of names with ids: "ATP binding [GO:0005524]; …"."""
        text = cell.strip()
        if text.casefold() in _NOTHING:
            return []
        matches = [self._named.fullmatch(item) for item in re.split(r";\s*", text)]
        return [match["term"] for match in matches if match] if all(matches) else None

    def numbers(self, cell: str) -> list[str] | None:
        """The same for ids without prefix, as PANNZER writes them: 0005524."""
        text = cell.strip()
        if text.casefold() in _NOTHING:
            return []
        return [f"{self._prefix}:{text}"] if self._prefix and re.fullmatch(r"\d{7}", text) else None
