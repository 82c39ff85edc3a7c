"""The tools in any order, with crashes, slow writers and restored catalogs: no key is ever lost or wrong.

A state machine puts, reads, compacts, sweeps, rebuilds, and takes and restores backups of the catalog, on
SQLite and Postgres. It keeps a model of what was acknowledged: a key reads back as it was put last, or as a
put that never ended would have it.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from covpool.store import CorruptEntryError, KeyNotFoundError, LocationError, Moments, Store, StoreError
from covpool.store.arrays.schema import Namespace
from covpool.store.catalog.entries import Written
from covpool.store.catalog.ledger import Ledger
from covpool.store.database.database import Database
from covpool.store.errors import OutdatedCatalogError
from covpool.store.maintenance.backup import back_up
from covpool.store.maintenance.compact import compact
from covpool.store.maintenance.gc import AGE, collect
from covpool.store.maintenance.rebuild import rebuild
from covpool.store.storage.locations import CATALOG_FILE
from covpool.store.storage.objects import Objects
from covpool.store.testing import example_key, example_moments
from covpool.store.values.partial_sums import PartialSums
from tests.store.tools import backup_of, restore

#: Runs of thirty steps on SQLite; a third of them on Postgres. More of them by hand, with other seeds.
EXAMPLES = int(os.environ.get("COVPOOL_EXAMPLES", "14"))
KEYS = st.sampled_from("abcd")
SUMS = (np.zeros(2), np.zeros((3, 1)), np.zeros((0, 2)))
#: Of gc: younger than all, the default, older than all.
AGES = st.sampled_from([timedelta(seconds=-60), AGE, timedelta(days=400)])
#: Which change of an object ends in a crash; most operations make fewer.
CRASHES = st.integers(0, 12)


class Crash(BaseException):
    """What a killed process does: nothing more."""


@contextmanager
def crashing(after: int) -> Iterator[None]:
    """The process dies at the change of an object number `after`."""
    left = after

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*arguments: Any) -> Any:
            nonlocal left
            if left == 0:
                raise Crash
            left -= 1
            return change(*arguments)

        return changed

    with pytest.MonkeyPatch.context() as patch:
        for name in ("write", "write_new", "delete", "delete_folder"):
            patch.setattr(Objects, name, counted(getattr(Objects, name)))
        yield


class Tools(RuleBasedStateMachine):
    """One store, whatever is done to it."""

    url: str | None

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        #: Numbers of puts, and what they were of by their means.
        self.versions = 0
        self.known: dict[bytes, tuple[str, int]] = {}
        #: The version of a key that was acknowledged last, and those of puts that never ended, or ended late.
        self.last: dict[str, int] = {}
        self.doubtful: dict[str, set[int]] = {name: set() for name in "abcd"}
        self.backup: dict[str, list[dict[str, Any]]] | None = None
        self.slow: tuple[str, int, Written] | None = None
        #: Of new keys: two namespaces come of it.
        self.codec = "lossless"
        self.copies = Path(tempfile.mkdtemp())
        self._clear()
        self.store = self._open()

    def _clear(self) -> None:
        if self.url is not None:
            database, known = Database.open(self.url), sa.MetaData()
            known.reflect(database.engine)
            known.drop_all(database.engine)
            database.close()

    def _open(self, *, lost_catalog: bool = False) -> Store:
        return Store.open(
            self.folder, catalog=self.url, lost_catalog=lost_catalog, codec=self.codec, create=True
        )

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)
        shutil.rmtree(self.copies)

    def _new(self, name: str) -> Moments:
        """Moments that were never put."""
        self.versions += 1
        found = example_moments(f"{name}{self.versions}")
        self.known[found.mean.tobytes()] = name, self.versions
        return found

    @rule(name=KEYS)
    def put(self, name: str) -> None:
        """Put, or put again, or put others under the key."""
        moments = self._new(name)
        if self.store.outdated:
            with pytest.raises(OutdatedCatalogError):
                self.store.put(example_key(name), moments, replace=True)
            return
        self.store.put(example_key(name), moments, replace=True)
        self.last[name] = self.versions

    @rule(name=KEYS)
    @precondition(lambda self: not self.store.outdated)
    def put_the_same_again(self, name: str) -> None:
        """Nothing changes."""
        if name in self.last and not self.doubtful[name]:
            before = self.store.entry(example_key(name))
            self.store.put(example_key(name), example_moments(f"{name}{self.last[name]}"), replace=True)
            assert self.store.entry(example_key(name)) == before

    @rule(name=KEYS)
    @precondition(lambda self: not self.store.outdated)
    def put_others_that_are_not_to_replace(self, name: str) -> None:
        """What is there stays."""
        if name in self.last and not self.doubtful[name]:
            before = self.store.entry(example_key(name))
            self.store.put(example_key(name), self._new(name))
            assert self.store.entry(example_key(name)) == before

    @rule(names=st.lists(KEYS, min_size=2, max_size=4, unique=True), after=CRASHES)
    @precondition(lambda self: not self.store.outdated)
    def put_several_and_crash(self, names: list[str], after: int) -> None:
        """Several keys become readable together, or none of them, wherever the put is cut off."""
        items = [(name, self._new(name), self.versions) for name in names]
        before = {name: self._version(name) for name in names}
        try:
            with crashing(after):
                self.store.catalog.give_up = lambda place: None  # type: ignore[method-assign]
                self.store.put_many(
                    [(example_key(name), moments) for name, moments, _ in items], replace=True
                )
        except Crash:
            after_all = {name: version for name, _, version in items}
            assert {name: self._version(name) for name in names} in (before, after_all)
            # gc has rows read that are whole, where nothing else holds their keys.
            for name, _, version in items:
                self.doubtful[name].add(version)
        else:
            self.last |= {name: version for name, _, version in items}
        self._reopen()

    def _version(self, name: str) -> int | None:
        try:
            return self.known[self.store.get(example_key(name)).mean.tobytes()][1]
        except (KeyNotFoundError, CorruptEntryError):
            return None

    @rule()
    @precondition(lambda self: not self.store.outdated)
    def damage(self) -> None:
        """A chunk of the row that `d` is read from changes: it may be gone, or older, and never wrong."""
        entry = self.store.catalog.find(example_key("d").digest)
        if entry is not None and not entry.place.generation:
            paths = list(self.folder.glob(f"arrays/{entry.namespace.id}/mean/c.{entry.row}.0"))
            for path in paths:
                path.write_bytes(path.read_bytes()[:-1] + b"?")
            self.last.pop("d", None)
            self.doubtful["d"] |= set(range(self.versions + 1))

    @rule(name=KEYS, at=st.integers(0, 3))
    @precondition(lambda self: not self.store.outdated)
    def keep_sums(self, name: str, at: int) -> None:
        """Sums of a sequence under way are no row; gc takes those of keys that are there."""
        self.store.partials.put(example_key(name), PartialSums(at, 0, *SUMS, "float32"))

    @rule(codec=st.sampled_from(["lossless", "cold"]))
    def choose_a_codec(self, codec: str) -> None:
        """New keys go to another namespace."""
        self.codec = codec
        self._reopen()

    @rule(
        outer=st.sampled_from(["compact", "gc", "rebuild", "backup"]),
        inner=st.sampled_from(["compact", "gc", "rebuild", "put", "read"]),
        name=KEYS,
        age=AGES,
        at=st.integers(0, 4),
    )
    def one_in_the_middle_of_another(
        self, outer: str, inner: str, name: str, age: timedelta, at: int
    ) -> None:
        """Any tool, or a put, in the middle of any tool: another process at the same time."""
        moments, put = self._new(name), self.versions

        def progress(done: int, total: int) -> None:
            if done != at:
                return
            with self._open() as other, suppress(OutdatedCatalogError):
                if inner == "put":
                    other.put(example_key(name), moments, replace=True)
                    self.last[name] = put
                elif inner == "read":
                    with suppress(KeyNotFoundError, CorruptEntryError):
                        other.get(example_key(name))
                else:
                    self._use(inner, other, age, lambda done, total: None)

        with suppress(StoreError):
            self._use(outer, self.store, age, progress)

    def _use(self, tool: str, store: Store, age: timedelta, progress: Callable[[int, int], None]) -> None:
        if tool == "gc":
            collect(store, age=age, progress=progress)
        elif tool == "rebuild":
            rebuild(store, progress=progress)
        elif tool == "backup":
            with Store.open(self.copies / "backup", lost_catalog=True) as backup:
                back_up(store, backup, progress=progress)
        else:
            for namespace, _ in Ledger(store.database).namespaces().values():
                compact(store, namespace, shard_rows=2, progress=progress)

    @rule()
    @precondition(lambda self: not self.store.outdated)
    def back_up_and_look(self) -> None:
        """All of it is in the backup, as it is now."""
        with Store.open(self.copies / "backup", lost_catalog=True) as backup:
            done = back_up(self.store, backup)
            lost = {problem.key for problem in done.problems}
            for name in "abcd":
                if example_key(name).digest not in lost and self._version(name) is not None:
                    found = backup.get(example_key(name)).mean.tobytes()
                    assert self.known[found] == (name, self._version(name))
            assert not lost - {example_key("d").digest}

    @rule()
    @precondition(lambda self: (self.copies / "backup" / CATALOG_FILE).is_file() and self.slow is None)
    def look_at_the_backup(self) -> None:
        """It reads as a store for reading only, whatever was done to the store since."""
        with Store.open(self.copies / "backup", read_only=True) as backup:
            for key in backup.keys():  # noqa: SIM118
                with suppress(CorruptEntryError):
                    assert example_key(self.known[backup.get(key).mean.tobytes()][0]) == key

    @rule(name=KEYS, after=CRASHES)
    @precondition(lambda self: not self.store.outdated)
    def put_and_crash(self, name: str, after: int) -> None:
        """A put that may not end; then the key is as before, or as put."""
        moments = self._new(name)
        try:
            with crashing(after):
                # What a killed writer cannot do either.
                self.store.catalog.give_up = lambda place: None  # type: ignore[method-assign]
                self.store.put(example_key(name), moments, replace=True)
        except Crash:
            self.doubtful[name].add(self.versions)
        else:
            self.last[name] = self.versions
        self._reopen()

    @rule(name=KEYS)
    @precondition(lambda self: self.slow is None and not self.store.outdated)
    def begin_slowly(self, name: str) -> None:
        """A writer reserves its row and writes it, and does not come to an end for now."""
        key, moments = example_key(name), self._new(name)
        place = self.store.catalog.reserve(key, Namespace(key.recipe, moments.width, str(moments.dtype)))
        record = self.store.arrays_of(place).write(place.row, key, moments)  # type: ignore[attr-defined]
        self.slow = name, self.versions, Written(key, place, record)
        self.doubtful[name].add(self.versions)

    @rule()
    @precondition(lambda self: self.slow is not None)
    def end_slowly(self) -> None:
        """The slow writer goes on, and is refused if its row was given up."""
        assert self.slow is not None
        (name, version, written), self.slow = self.slow, None
        try:
            self.store.catalog.flip_ready([written])
        except StoreError:
            return
        # Of puts at the same time either may be the last.
        self.doubtful[name] |= {version, *({self.last[name]} if name in self.last else ())}
        self.last[name] = version

    @rule(every=st.booleans(), age=AGES, at=st.integers(0, 4))
    def compact_while_gc_runs(self, every: bool, age: timedelta, at: int) -> None:
        """Compact, and sweep in the middle of it."""

        def progress(done: int, total: int) -> None:
            if done == at:
                with self._open() as other:
                    collect(other, age=age)

        for namespace, _ in Ledger(self.store.database).namespaces().values():
            with suppress(StoreError):
                compact(self.store, namespace, shard_rows=2, every=every, progress=progress)

    @rule(every=st.booleans(), after=CRASHES)
    def compact_and_crash(self, every: bool, after: int) -> None:
        """Compact, or go on with a copy that was begun, and may be killed."""
        for namespace, _ in Ledger(self.store.database).namespaces().values():
            with suppress(Crash, OutdatedCatalogError), crashing(after):
                compact(self.store, namespace, shard_rows=2, every=every)
        self._reopen()

    @rule(age=AGES, dry_run=st.booleans())
    def sweep(self, age: timedelta, dry_run: bool) -> None:
        """gc of any age."""
        with suppress(OutdatedCatalogError):
            collect(self.store, age=age, dry_run=dry_run)

    @rule(age=AGES, after=CRASHES)
    def sweep_and_crash(self, age: timedelta, after: int) -> None:
        """gc that may be killed."""
        with suppress(Crash, OutdatedCatalogError), crashing(after):
            collect(self.store, age=age)
        self._reopen()

    @rule()
    def rebuild(self) -> None:
        """Bring the catalog up to the arrays."""
        rebuild(self.store)
        assert self.store.outdated is None

    @rule()
    def lose_the_catalog_and_rebuild(self) -> None:
        """Every table is gone, and made again; a slow writer's row is nobody's any more."""
        self.store.close()
        if self.url is None:
            for path in self.folder.glob("catalog.sqlite*"):
                path.unlink()
        else:
            self._clear()
        self.store, self.backup, self.slow = self._open(lost_catalog=True), None, None
        rebuild(self.store)

    @rule()
    def take_a_backup(self) -> None:
        """Keep the catalog as it is."""
        self.backup = backup_of(self.store)

    @rule()
    @precondition(lambda self: self.backup is not None)
    def restore_the_backup(self) -> None:
        """The catalog as it was; the arrays as they are."""
        assert self.backup is not None
        self.store.close()
        restore(self.url or f"sqlite:///{self.folder / CATALOG_FILE}", self.backup)
        self.slow = None
        try:
            self.store = self._open()
        except LocationError as error:
            # From before the first put: it knows of no arrays at all.
            assert "covpool store rebuild" in str(error)
            self.store = self._open(lost_catalog=True)
            rebuild(self.store)

    @rule()
    def reopen(self) -> None:
        """Another process."""
        self._reopen()

    def _reopen(self) -> None:
        self.store.close()
        self.store = self._open()

    @invariant()
    def nothing_is_lost_or_wrong(self) -> None:
        """Every key reads back as it was put last, unless the catalog says that it is too old to know."""
        for name in "abcd":
            try:
                found = self.store.get(example_key(name))
            except (KeyNotFoundError, CorruptEntryError) as error:
                assert self.store.outdated or name not in self.last, str(error)
                continue
            of, version = self.known[found.mean.tobytes()]
            assert of == name
            allowed = self.doubtful[name] | ({self.last[name]} if name in self.last else set())
            assert self.store.outdated or version in allowed, f"{name}: {version}, not one of {allowed}"


STEPS = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    # A failure is told as it was found: making it smaller takes longer than the suite.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


def test_no_key_is_lost_or_wrong_in_any_order_on_sqlite() -> None:
    run_state_machine_as_test(type("OnSqlite", (Tools,), {"url": None}), settings=STEPS)


def test_no_key_is_lost_or_wrong_in_any_order_on_postgres(postgres_url: str) -> None:
    machine = type("OnPostgres", (Tools,), {"url": postgres_url})
    run_state_machine_as_test(machine, settings=settings(STEPS, max_examples=max(1, EXAMPLES // 3)))
