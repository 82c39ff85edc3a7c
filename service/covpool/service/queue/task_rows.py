"""Task rows: a request or a fit as a row of the table of tasks, and the workload of such a row."""

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from covpool.extractor.extraction.selections import Selection
from covpool.extractor.extraction.workload import Workload
from covpool.service.queue.values import PRIORITIES, Priority, Request
from covpool.store.values.keys import Recipe, canonical_json, sha256

#: Columns of a task that a new submission sets anew when the task had ended.
ANEW = ("state", "priority", "created", "bases", "attempts", "cancel", "tokens_done", "error", "ended")


def task_row(request: Request, bases: bytes | None, priority: Priority, time: float) -> dict[str, object]:
    """The row of a request's task: queued, or done when there are no bases because all results are ready."""
    recipe, done = request.workload.recipes[0], bases is None
    return {
        "key": request.task,
        "kind": "extraction",
        "state": "done" if done else "queued",
        "priority": PRIORITIES.index(priority),
        "created": time,
        "recipe": recipe.to_json(),
        "recipe_digest": _mates(request),
        "weights": recipe.weights,
        "sequence": request.workload.digest,
        "length": request.workload.length,
        "cost": request.cost,
        "asks": None if request.single else _written(request.workload),
        "first_result": None if request.single else request.keys[0],
        "bases": bases,
        "attempts": 0,
        "cancel": False,
        "tokens_done": request.cost if done else 0,
        "error": None,
        "ended": time if done else None,
    }


def fit_key(name: str) -> str:
    """Key of the task that fits a pooling of this name."""
    return sha256(canonical_json(["fit", name]))


def fit_row(name: str, request: Mapping[str, Any], time: float) -> dict[str, object]:
    """The row of a queued fit."""
    return {
        "key": fit_key(name),
        "kind": "fit",
        "state": "queued",
        # It is a single task that somebody waits for; a genome may queue very many.
        "priority": PRIORITIES.index("interactive"),
        "created": time,
        "recipe": request["recipe"],
        # Its own digest: it is claimed with no other task.
        "recipe_digest": fit_key(name),
        "weights": "",
        "sequence": "",
        "length": 0,
        "cost": 0,
        "asks": canonical_json(dict(request)),
        "first_result": None,
        "bases": None,
        "attempts": 0,
        "cancel": False,
        "tokens_done": 0,
        "error": None,
        "ended": None,
    }


def packed(request: Request) -> bytes:
    """The bases of a request as the table holds them; they are read by this call."""
    return zlib.compress(request.workload.text.encode("ascii"), 1)


def workload_of(row: "sa.Row[tuple[object, ...]]") -> Workload:
    """The workload of a row, with its bases."""
    bases = zlib.decompress(row.bases).decode("ascii")
    selections: tuple[Selection, ...] = (Selection.whole(row.length),)
    recipes = _recipes(row.recipe)
    if row.asks is not None:
        asked = json.loads(row.asks)
        selections = tuple(Selection(name, _pairs(intervals)) for name, intervals in asked["regions"])
        recipes = _recipes(row.recipe, tuple(asked["layers"]))
    return Workload(row.key[:12], row.sequence, row.length, bases, selections, recipes)


@lru_cache(maxsize=256)
def _recipes(text: str, layers: tuple[str, ...] = ()) -> tuple[Recipe, ...]:
    """The recipes of a row, one per layer; many rows share them, so each digest is computed once."""
    recipe = Recipe.from_json(text)
    return tuple(replace(recipe, layer=layer) for layer in layers) or (recipe,)


def _written(workload: Workload) -> str:
    selections = [[selection.name, selection.intervals] for selection in workload.selections]
    return canonical_json({"layers": workload.layers, "regions": selections})


def _pairs(intervals: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    return tuple((start, end) for start, end in intervals)


def _mates(request: Request) -> str:
    """Digest that tasks claimed together share: of recipe and layers."""
    first, *others = request.workload.recipes
    if not others:
        return first.digest
    return sha256(canonical_json([first.digest, *request.workload.layers]))
