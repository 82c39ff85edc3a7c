"""Registries: objects by name that installed packages, covpool among them, offer through entry points.

A package offers one with a line in its pyproject, under the registry's group:

    [project.entry-points."covpool.poolings"]
    third_moment = "their_package.poolings:THIRD_MOMENT"
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """The objects of one entry-point group, sorted by name.

    Names are read at the first look-up. An object is imported at its first use.

    Args:
        group: of the entry points.
        kind: class of every object in it (`type` of a group of classes), or a test that each passes.
        error: raised, with a remedy, if a package offers an object that cannot be used.
    """

    def __init__(self, group: str, kind: type | Callable[[object], bool], error: type[Exception]) -> None:
        self.group, self._kind, self._error = group, kind, error
        self._loaded: dict[str, T] = {}

    @cached_property
    def _offers(self) -> dict[str, EntryPoint]:
        offers: dict[str, EntryPoint] = {}
        for offer in entry_points(group=self.group):
            if offer.name in offers:
                raise self._error(
                    f"{self.group}: {_package(offers[offer.name])} and {_package(offer)} both offer "
                    f"{offer.name!r}; uninstall one of them"
                )
            offers[offer.name] = offer
        if not offers:
            raise self._error(f"{self.group}: no package offers any; install covpool anew")
        return dict(sorted(offers.items()))

    def __getitem__(self, name: str) -> T:
        if name not in self._loaded:
            self._loaded[name] = self._imported(self._offers[name])
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._offers

    def __iter__(self) -> Iterator[str]:
        return iter(self._offers)

    def __len__(self) -> int:
        return len(self._offers)

    def _imported(self, offer: EntryPoint) -> T:
        where = f"{self.group}: {offer.name!r} of {_package(offer)}"
        try:
            value: T = offer.load()
        except (ImportError, AttributeError) as error:
            raise self._error(
                f"{where} cannot be imported ({error}); repair that package or uninstall it"
            ) from error
        kind = self._kind
        if not (isinstance(value, kind) if isinstance(kind, type) else kind(value)):
            raise self._error(f"{where} is no {kind.__name__}; repair that package or uninstall it")
        return value


def _package(offer: EntryPoint) -> str:
    return "an unnamed package" if offer.dist is None else f"{offer.dist.name} {offer.dist.version}"
