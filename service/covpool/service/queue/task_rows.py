"""Task rows: a request or a fit as a row of the table of tasks, and what such a row asks for."""

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from covpool.extractor.extraction.regions import Region
from covpool.extractor.extraction.workload import Workload
from covpool.service.queue.values import PRIORITIES, Priority, Request
from covpool.store.values.keys import Recipe, canonical_json, sha256

#: Columns of a task that a new submission sets anew when the task had ended.
ANEW = ("state", "priority", "created", "bases", "attempts", "cancel", "tokens_done", "error", "ended")


def task_row(one: Request, bases: bytes | None, priority: Priority, time: float) -> dict[str, object]:
    """The row of a request's task: queued, or done when there are no bases because all results are ready."""
    recipe, done = one.workload.recipes[0], bases is None
    return {
        "key": one.task,
        "kind": "extraction",
        "state": "done" if done else "queued",
        "priority": PRIORITIES.index(priority),
        "created": time,
        "recipe": recipe.to_json(),
        "recipe_digest": _mates(one),
        "weights": recipe.weights,
        "sequence": one.workload.digest,
        "length": one.workload.length,
        "cost": one.cost,
        "asks": None if one.single else _written(one.workload),
        "first_result": None if one.single else one.keys[0],
        "bases": bases,
        "attempts": 0,
        "cancel": False,
        "tokens_done": one.cost if done else 0,
        "error": None,
        "ended": time if done else None,
    }


def fit_key(name: str) -> str:
    """Of the task that fits a pooling of this name."""
    return sha256(canonical_json(["fit", name]))


def fit_row(name: str, request: Mapping[str, Any], time: float) -> dict[str, object]:
    """The row of a fit that waits."""
    return {
        "key": fit_key(name),
        "kind": "fit",
        "state": "queued",
        # It is one task that somebody waits for, however many a genome queues.
        "priority": PRIORITIES.index("interactive"),
        "created": time,
        "recipe": request["recipe"],
        # Claimed with no other.
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


def packed(one: Request) -> bytes:
    """Its bases as the table holds them; they are read now."""
    return zlib.compress(one.workload.text.encode("ascii"), 1)


def workload_of(row: "sa.Row[tuple[object, ...]]") -> Workload:
    """What a row asks for, with its bases."""
    bases = zlib.decompress(row.bases).decode("ascii")
    regions: tuple[Region, ...] = (Region.whole(row.length),)
    recipes = _recipes(row.recipe)
    if row.asks is not None:
        asked = json.loads(row.asks)
        regions = tuple(Region(name, _pairs(intervals)) for name, intervals in asked["regions"])
        recipes = _recipes(row.recipe, tuple(asked["layers"]))
    return Workload(row.key[:12], row.sequence, row.length, bases, regions, recipes)


@lru_cache(maxsize=256)
def _recipes(text: str, layers: tuple[str, ...] = ()) -> tuple[Recipe, ...]:
    """The recipe of a row at its layers: one object for many rows, whose digest is worked out once."""
    recipe = Recipe.from_json(text)
    return tuple(replace(recipe, layer=layer) for layer in layers) or (recipe,)


def _written(workload: Workload) -> str:
    regions = [[region.name, region.intervals] for region in workload.regions]
    return canonical_json({"layers": workload.layers, "regions": regions})


def _pairs(intervals: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    return tuple((start, end) for start, end in intervals)


def _mates(one: Request) -> str:
    """What tasks must share to be claimed together: recipe and layers."""
    first, *others = one.workload.recipes
    if not others:
        return first.digest
    return sha256(canonical_json([first.digest, *one.workload.layers]))
