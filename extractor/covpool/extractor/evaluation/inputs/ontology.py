"""An ontology: terms of an OBO file and the terms above them over is_a and part_of.

obonet parses the file; alternative ids, obsolete terms and roots are handled here.
"""

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from os import PathLike
from pathlib import Path
from typing import Any

import obonet
from networkx import MultiDiGraph, descendants, is_directed_acyclic_graph
from xopen import xopen

from covpool.extractor.errors import EvaluationError

#: Relations over which a gene also has the term above (the true-path rule).
RELATIONS = ("is_a", "part_of")


@dataclass(frozen=True)
class Ontology:
    """Live terms of an ontology.

    Attributes:
        graph: edges from each term to those above it, over `RELATIONS`.
        names: of each term.
        replaced: current ids of alternative ids, and of obsolete terms that name their successor.
    """

    graph: "MultiDiGraph[str]" = field(repr=False)
    names: dict[str, str] = field(repr=False)
    replaced: dict[str, str] = field(repr=False)

    @cached_property
    def roots(self) -> frozenset[str]:
        """Terms without a term above them; they carry no information."""
        return frozenset(term for term in self.names if self.graph.out_degree(term) == 0)

    def propagate(self, terms: Iterable[str]) -> set[str]:
        """The terms and all terms above them, without roots; unknown and obsolete ids are ignored."""
        propagated: set[str] = set()
        for term in terms:
            current = self.replaced.get(term, term)
            if current in self.names and current not in propagated:
                propagated |= {current} | self._above(current)
        return propagated - self.roots

    def knows(self, term: str) -> bool:
        """Whether it is an id, or an alternative id, of a live term."""
        return term in self.names or term in self.replaced

    @cached_property
    def _above(self) -> Callable[[str], set[str]]:
        return cache(partial(descendants, self.graph))


def read_ontology(path: str | PathLike[str]) -> Ontology:
    """The ontology of an OBO file, plain or gzip.

    Raises:
        EvaluationError: the file cannot be read, is not OBO, or its relations form a cycle.
    """
    path = Path(path)
    try:
        with xopen(path, "rt", encoding="utf-8", threads=0) as file:
            parsed = obonet.read_obo(file, ignore_obsolete=False)
    except (OSError, EOFError, ValueError, KeyError, zlib.error) as error:
        raise EvaluationError(f"{path}: cannot be read as OBO ({error})") from error
    graph: MultiDiGraph[str] = MultiDiGraph()
    data: dict[str, dict[str, Any]] = {term: parsed.nodes[term] for term in parsed}
    obsolete = {term for term, body in data.items() if body.get("is_obsolete") == "true"}
    names = {
        term: str(body.get("name", term)) for term, body in data.items() if body and term not in obsolete
    }
    graph.add_nodes_from(names)
    graph.add_edges_from(
        (term, above)
        for term, above, relation in parsed.edges(keys=True)
        if relation in RELATIONS and term in names and above in names
    )
    if not names:
        raise EvaluationError(f"{path}: holds no live term; give an ontology in OBO format")
    if not is_directed_acyclic_graph(graph):
        raise EvaluationError(f"{path}: is_a and part_of form a cycle; fetch the file again")
    replaced = {old: term for term in names for old in data[term].get("alt_id", ()) if old not in names}
    for term in obsolete:
        # An obsolete term with several successors is not replaced.
        successors = data[term].get("replaced_by", ())
        current = [replaced.get(successor, successor) for successor in successors]
        if len(current) == 1 and current[0] in names:
            replaced.setdefault(term, current[0])
    return Ontology(graph, names, replaced)
