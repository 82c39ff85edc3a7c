"""Read a fitted pooling of any kind."""

from collections.abc import Mapping
from pathlib import Path

from covpool.store.errors import BottleneckError
from covpool.store.poolings.bottleneck import Bottleneck
from covpool.store.poolings.fitted import FittedPooling, kind_of
from covpool.store.poolings.scores import LinearScores

CLASSES: Mapping[str, type[FittedPooling]] = {one.kind: one for one in (Bottleneck, LinearScores)}


def load_pooling(path: Path) -> FittedPooling:
    """The fitted pooling in a file.

    Raises:
        BottleneckError: it is damaged, of another version, or no fitted pooling.
    """
    kind = kind_of(path)
    if kind not in CLASSES:
        raise BottleneckError(f"{path}: holds no covpool bottleneck ({kind or 'no kind'}); fit it again")
    return CLASSES[kind].load(path)
