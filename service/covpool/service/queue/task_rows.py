"""Task rows: a request or a fit as a row of the table of tasks, and what such a row asks for."""

import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from covpool.extractor.extraction.regions import Region
from covpool.service.queue.values import PRIORITIES, Asks, Priority, Request
from covpool.store.values.keys import canonical_json, sha256

#: Columns of a task that a new submission sets anew when the task had ended.
ANEW = ("state", "priority", "created", "bases", "attempts", "cancel", "tokens_done", "error", "ended")


def task_row(one: Request, bases: bytes | None, priority: Priority, time: float) -> dict[str, object]:
    """The row of a request's task: queued, or done when there are no bases because all results are ready."""
    recipe, done = one.key.recipe, bases is None
    return {
        "key": one.task,
        "kind": "extraction",
        "state": "done" if done else "queued",
        "priority": PRIORITIES.index(priority),
        "created": time,
        "recipe": recipe.to_json(),
        "recipe_digest": _mates(one),
        "weights": recipe.weights,
        "sequence": one.key.sequence,
        "length": one.key.length,
        "cost": one.cost,
        "asks": None if one.asks is None else _written(one.asks),
        "first_result": None if one.asks is None else one.asks.keys[0],
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
    bases = one.bases if isinstance(one.bases, str) else one.bases()
    return zlib.compress(bases.encode("ascii"), 1)


def read_asks(text: str) -> tuple[tuple[str, ...], tuple[Region, ...]]:
    """Layers and region classes of a row."""
    found = json.loads(text)
    regions = (Region(name, _pairs(intervals)) for name, intervals in found["regions"])
    return tuple(found["layers"]), tuple(regions)


def _written(asks: Asks) -> str:
    regions = [[region.name, region.intervals] for region in asks.regions]
    return canonical_json({"layers": asks.layers, "regions": regions})


def _pairs(intervals: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    return tuple((start, end) for start, end in intervals)


def _mates(one: Request) -> str:
    """What tasks must share to be claimed together: recipe and layers."""
    if one.asks is None or len(one.asks.layers) == 1:
        return one.key.recipe.digest
    return sha256(canonical_json([one.key.recipe.digest, *one.asks.layers]))
