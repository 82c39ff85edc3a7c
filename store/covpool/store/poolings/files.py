"""Read a fitted pooling of any kind; packages offer kinds in the group `covpool.fitted_poolings`."""

from pathlib import Path

from covpool.store.errors import BottleneckError
from covpool.store.poolings.fitted import FittedPooling, kind_of
from covpool.store.registry import Registry

#: Class of each kind, of every installed package.
FITTED: Registry[type[FittedPooling]] = Registry("covpool.fitted_poolings", type, BottleneckError)


def load_pooling(path: Path) -> FittedPooling:
    """The fitted pooling in a file.

    Raises:
        BottleneckError: it is damaged, of another version, or of no kind that is installed.
    """
    kind = kind_of(path)
    if kind not in FITTED:
        raise BottleneckError(
            f"{path}: holds no fitted pooling of a known kind ({kind or 'it names none'}); fit it again, or "
            "install the package that brings its kind"
        )
    return FITTED[kind].load(path)
