"""Evo 2's published forward test: the mean loss on the package's prompts tells whether a set-up is sound."""

import csv
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import torch
from torch.nn import functional as F

from covpool.extractor.adapters.evo2 import Evo2Adapter, token_ids
from covpool.extractor.errors import ExtractionError
from covpool.extractor.models.families import Report
from covpool.extractor.networks.evo2.published import PUBLISHED

#: The publisher's tolerance.
TOLERANCE = 1e-3
PROMPTS = "prompts.csv"


def check(adapter: Evo2Adapter, prompts: Path | None = None) -> Report:
    """The mean over sequences of their mean cross-entropy, nats per token, compared with the published one.

    Args:
        adapter: a loaded model.
        prompts: CSV file whose first column holds sequences below a header; by default the one inside the
            `evo2` package, where that is installed.

    Raises:
        ExtractionError: there are no prompts.
    """
    texts = read_prompts(prompts or _packaged())
    name, loss = adapter.model.name, mean_loss(adapter, texts)
    published = PUBLISHED.get(name)
    expected = None if published is None else published.loss
    passed = None if expected is None else abs(loss - expected) <= TOLERANCE
    expectation = "none published" if expected is None else f"{expected} ± {TOLERANCE}"
    line = f"{name}: mean loss {loss:.4f} nats per token over {len(texts)} sequences; expected {expectation}"
    row = {"model": name, "loss": loss, "expected": expected, "sequences": len(texts), "passed": passed}
    return Report((line,), (row,), passed)


def read_prompts(path: Path) -> list[str]:
    """Sequences of at least two tokens in the first column of a CSV file, without its header.

    They are taken as they are: prompts may hold more than DNA.

    Raises:
        ExtractionError: there are none.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            prompts = [row[0] for row in csv.reader(file) if row and len(row[0]) > 1][1:]
    except (OSError, ValueError, csv.Error) as error:
        raise ExtractionError(f"{path}: not a readable CSV file ({error}); give the prompts file") from error
    if not prompts:
        raise ExtractionError(f"{path}: no sequences below the header of its first column")
    return prompts


@torch.inference_mode()
def mean_loss(adapter: Evo2Adapter, texts: Iterable[str]) -> float:
    """Mean over texts of the mean cross-entropy of each next byte, in nats, streamed like any other tap."""
    losses = []
    for text in texts:
        ids = token_ids(text, len(text.encode())).to(adapter.device)[None]
        total = 0.0
        for stage in adapter.stages(ids, frozenset(["unembed"])):
            next_ids = ids[0, stage.start + 1 : stage.start + 1 + stage.values.shape[1]].long()
            logits = stage.values[0, : len(next_ids)].float()
            total += float(F.cross_entropy(logits, next_ids, reduction="sum"))
        losses.append(total / (ids.shape[1] - 1))
    return sum(losses) / len(losses)


def _packaged() -> Path:
    package = find_spec("evo2")
    for folder in (package.submodule_search_locations or ()) if package else ():
        for path in sorted(Path(folder).rglob(PROMPTS)):
            return path
    raise ExtractionError(
        f"the check needs {PROMPTS} of the evo2 package, which is not installed; give it with --prompts"
    )
