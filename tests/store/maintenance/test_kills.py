"""Kills: writers and all the tools at once, killed at random; nothing acknowledged is lost or wrong.

`COVPOOL_KILLS=600` makes a campaign of it.
"""

import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from covpool.store import KeyNotFoundError, Store
from covpool.store.errors import CorruptEntryError
from covpool.store.testing import example_key, example_moments
from tests.store.nursery import Nursery, nursery

KILLS = int(os.environ.get("COVPOOL_KILLS", "16"))
WIDTH = 24

#: What a child does; it reports "at it" first, and what was acknowledged.
CHILD = """
from datetime import timedelta
import random
from covpool.store.errors import StoreError
from covpool.store.maintenance.backup import back_up
from covpool.store.maintenance.backup_places import backup_target, restore_target
from covpool.store.maintenance.compact import compact
from covpool.store.maintenance.gc import collect
from covpool.store.catalog.ledger import Ledger
from covpool.store.maintenance.rebuild import rebuild
what, location, catalog, aside, target, seed, names, width = arguments
chance = random.Random(seed)
AGES = [timedelta(seconds=-60), timedelta(0), timedelta(days=1)]

def put(store):
    while names:
        some = [names.pop() for _ in range(min(len(names), chance.choice([1, 1, 3])))]
        items = [(example_key(one.partition(":")[0]), example_moments(one, width)) for one in some]
        store.put_many(items, replace=True)
        report("put " + " ".join(some))

def run(store):
    for _ in range(1 if what == "put" else 3):
        if what == "put":
            put(store)
        elif what == "gc":
            collect(store, age=chance.choice(AGES))
        elif what == "compact":
            for namespace, _ in Ledger(store.database).namespaces().values():
                codec = chance.choice([None, "cold"])
                compact(store, namespace, shard_rows=8, every=chance.random() < 0.3, codec=codec)
        elif what == "rebuild":
            rebuild(store)
        elif what == "backup":
            with backup_target(aside, None) as place:
                report(f"lost {[one.message for one in back_up(store, place).problems]}")

report("at it")
try:
    if what == "restore":
        with Store.open(aside, read_only=True) as store, restore_target(target, None) as place:
            report(f"lost {[one.message for one in back_up(store, place).problems]}")
    else:
        with Store.open(location, catalog=catalog) as store:
            run(store)
    report("ended")
except StoreError as error:
    report(f"refused {type(error).__name__} {error}")
"""


@pytest.fixture(scope="module")
def children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with nursery(tmp_path_factory.mktemp("children")) as opened:
        yield opened


class Campaign:
    """One store and whoever is at it; what they acknowledged and said."""

    def __init__(self, folder: Path, url: str, children: Nursery, seed: int) -> None:
        self.store, self.aside, self.restored = folder / "store", folder / "aside", folder / "restored"
        self.url, self._children, self._chance = url, children, random.Random(seed)
        self._running: dict[int, tuple[str, Path]] = {}
        self.started = 0
        self.kills: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.newest: dict[str, int] = {}
        self.lost: list[str] = []

    def start(self, what: str) -> None:
        self.started += 1
        number, chance = self.started, self._chance
        names = [f"same{chance.randrange(40)}" for _ in range(8)]
        # Of a key that several put at once none knows which is the newest: only one puts each of these.
        if not any(one == "put" for one, _ in self._running.values()):
            names += [f"own{chance.randrange(15)}:{number}" for _ in range(8)]
        chance.shuffle(names)
        restoring = any(one == "restore" for one, _ in self._running.values())
        if self.restored.exists() and number % 2 and not restoring:
            shutil.rmtree(self.restored)
        pid, file = self._children.start(
            CHILD,
            *(what, str(self.store), self.url, str(self.aside), str(self.restored)),
            *(number, list(dict.fromkeys(names)), WIDTH),
        )
        self._running[pid] = what, file

    def kill_one(self) -> None:
        pid = self._chance.choice(list(self._running))
        what, file = self._running[pid]
        deadline = time.monotonic() + 5
        while not file.stat().st_size and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(self._chance.uniform(0.0, 0.06 if what == "put" else 0.3))
        # Some come to their end, so that there is something to restore, and to be newer than.
        patient = time.monotonic() + (4.0 if self._chance.random() < 0.2 else 0.0)
        while time.monotonic() < patient and not {"ended", "refused"} & set(file.read_text().split()):
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
        self._settle(pid)

    def _settle(self, pid: int) -> None:
        what, file = self._running.pop(pid)
        status = self._children.wait(pid)
        assert status in (0, signal.SIGKILL), file.read_text()
        self.kills[what] += status == signal.SIGKILL
        for line in file.read_text().splitlines(keepends=True):
            assert not line.startswith("FAILED"), line
            word, _, rest = line.rstrip("\n").partition(" ")
            if not line.endswith("\n"):
                continue
            if word == "ended":
                self.ended[what] += 1
            elif word == "refused":
                self.refused[f"{what}: {rest[:200]}"] += 1
            elif word == "lost" and rest != "[]":
                self.lost.append(f"{what}: {rest}")
            elif word == "put":
                for name in rest.split():
                    key, _, version = name.partition(":")
                    self.newest[key] = max(self.newest.get(key, 0), int(version or 0))

    def run(self, kills: int) -> None:
        kinds = ["put", "put", "gc", "compact", "rebuild", "backup", "restore"]
        while sum(self.kills.values()) < kills:
            while len(self._running) < 4:
                self.start(self._chance.choice(kinds))
            self.kill_one()
        for pid in list(self._running):
            os.kill(pid, signal.SIGKILL)
            self._settle(pid)

    def wrong(self, store: Store) -> list[str]:
        """What was acknowledged and does not read back as it was put, or as somebody put it later."""
        found = []
        for key, version in self.newest.items():
            allowed = [f"{key}:{n}" for n in range(version, self.started + 1)] if version else [key]
            try:
                moments = store.get(example_key(key))
            except (KeyNotFoundError, CorruptEntryError) as error:
                found.append(f"{key}: {error}")
                continue
            if not any(
                moments.second_moment.tobytes() == example_moments(name, WIDTH).second_moment.tobytes()
                for name in allowed
            ):
                found.append(f"{key}: other bits than version {version} or later")
        return found


@pytest.mark.timeout(3600)
def test_nothing_that_was_acknowledged_is_lost_or_wrong_whoever_is_killed(
    tmp_path: Path, database_url: str, children: Nursery, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign = Campaign(tmp_path, database_url, children, seed=int(os.environ.get("COVPOOL_SEED", "7")))
    Store.open(campaign.store, catalog=database_url).close()
    campaign.run(KILLS)
    with Store.open(campaign.store, catalog=database_url) as store:
        assert store.outdated is None
        wrong = campaign.wrong(store)
        problems = [one.message for one in store.verify() if one.key]
    # Whatever was half done is taken up and ends.
    for what in ("compact", "gc", "rebuild", "backup"):
        campaign.start(what)
        (pid,) = campaign._running
        campaign._settle(pid)
        assert not campaign.lost
    with Store.open(campaign.store, catalog=database_url) as store, Store.open(campaign.aside) as backup:
        wrong += campaign.wrong(store) + campaign.wrong(backup)
        problems += [one.message for place in (store, backup) for one in place.verify() if one.key]
        assert set(map(str, backup.keys())) >= set(map(str, store.keys()))
    with capsys.disabled():
        sys.stdout.write(
            f"\n{database_url[:6]}: {sum(campaign.kills.values())} kills {dict(campaign.kills)}, ended "
            f"{dict(campaign.ended)}, {len(campaign.newest)} keys acknowledged, {len(wrong)} lost or wrong, "
            f"{len(problems)} problems; refused {dict(campaign.refused)}; {campaign.lost}\n"
        )
    assert (wrong, problems, campaign.lost) == ([], [], [])
    assert campaign.kills["put"] > 0, "no writer was killed: the test has lost its teeth"
