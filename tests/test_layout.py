"""The architecture as tests: rooms, namespace, weight of the base install, import contracts."""

import re
import shutil
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("extractor", "store", "service", "clients")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

STORE, EXTRACTOR, SERVICE, CLIENTS = (
    f"the wings of the {room}" for room in ("store", "extractor", "service", "clients")
)
CIRCLE = "no import circle, within wings either"
ONE_WAY = "data flows one way: clients -> service -> extractor -> store"
VALUES_ONLY = "the extractor computes and never stores: it sees only the store's value types"
WIRE_ONLY = "clients see the wire contract and nothing else of ours"
TORCH_FREE = "the API process never loads torch"

#: Forbidden imports: the module that one is added to, what it imports, and the contract it must break.
VIOLATIONS = [
    ("store.values.moments", "covpool.extractor.sequences.sequences", ONE_WAY),
    ("extractor.sequences.sequences", "covpool.service.schemas", ONE_WAY),
    ("service.submission.served", "covpool.clients.arrays", ONE_WAY),
    ("store.maintenance.gc", "covpool.store.store", STORE),
    ("store.storage.objects", "covpool.store.arrays.schema", STORE),
    ("store.catalog.catalog", "covpool.store.standing", STORE),
    ("extractor.networks.ntv3.network", "covpool.extractor.adapters.adapter", EXTRACTOR),
    ("extractor.extraction.extract", "covpool.extractor.evaluation.ridge", EXTRACTOR),
    ("extractor.sequences.fasta", "covpool.extractor.annotation.annotation", EXTRACTOR),
    ("service.queue.tables", "covpool.service.worker.worker", SERVICE),
    ("service.http.app", "covpool.service.worker.worker", SERVICE),
    ("clients.transport", "covpool.clients.client", CLIENTS),
    ("extractor.extraction.accumulate", "covpool.extractor.extraction.extract", CIRCLE),
    ("extractor.extraction.extract", "covpool.store.store", VALUES_ONLY),
    ("extractor.files.digests", "covpool.store.storage.objects", VALUES_ONLY),
    ("store.values.packing", "zarr", "the store's value types are light"),
    ("clients.client", "covpool.store.values.moments", WIRE_ONLY),
    ("clients.client", "covpool.service.errors", WIRE_ONLY),
    ("service.schemas.requests", "covpool.store.values.keys", "the wire contract imports nothing of ours"),
    ("service.http.routes.health", "torch", TORCH_FREE),
    ("extractor.sequences.fasta", "covpool.extractor.extraction.accumulate", TORCH_FREE),
]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_holds_its_part_of_the_namespace_and_nothing_else(room: str) -> None:
    assert [p.name for p in (ROOT / room / "covpool").iterdir() if p.name != "__pycache__"] == [room]
    assert (ROOT / room / "covpool" / room / "py.typed").is_file()
    assert (ROOT / room / "README.md").is_file()
    assert not list((ROOT / room).glob("*.py"))


def test_the_base_install_is_light() -> None:
    base = " ".join(PROJECT["project"]["dependencies"])
    for heavy in ("torch", "zarr", "fastapi", "sqlalchemy"):
        assert heavy not in base


def test_modules_stay_readable() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if (lines := path.read_text().count("\n")) > 400
    }
    assert not long


def test_folders_stay_readable() -> None:
    full = {
        str(folder.relative_to(ROOT)): len(modules)
        for room in ROOMS
        for folder in (ROOT / room / "covpool").rglob("*/")
        if len(modules := [path for path in folder.glob("*.py") if path.name != "__init__.py"]) > 15
    }
    assert not full


@pytest.mark.parametrize("room", ROOMS)
def test_tests_lie_in_the_wing_that_they_test(room: str) -> None:
    wings = {path.name for path in (ROOT / room / "covpool" / room).iterdir() if path.is_dir()}
    assert {path.name for path in (ROOT / "tests" / room).iterdir() if path.is_dir()} - {
        "__pycache__"
    } <= wings


def test_no_module_imports_itself_by_others() -> None:
    # The contracts compare folders; a folder's own `__init__` and what lies in it are compared here.
    graph = grimp.build_graph(*(f"covpool.{room}" for room in ROOMS), cache_dir=None)
    TopologicalSorter(
        {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    ).prepare()


@pytest.mark.parametrize("room", ROOMS)
def test_the_public_names_are_those_of_the_room_card(room: str) -> None:
    import importlib

    module = importlib.import_module(f"covpool.{room}")
    card = (ROOT / room / "README.md").read_text()
    line = next(line for line in card.splitlines() if line.startswith("**Public names**"))
    listed = {name.strip("` .") for name in line.partition(":")[2].split(",")}
    assert listed == set(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None


@pytest.mark.parametrize("room", ROOMS)
def test_the_room_card_has_each_wing_once(room: str) -> None:
    card = (ROOT / room / "README.md").read_text()
    rows = [line.split("|")[1] for line in card.splitlines() if line.startswith("| `")]
    listed = re.findall(r"`([a-z_]+(?:/|\.py))`", "".join(rows))
    package = ROOT / room / "covpool" / room
    wings = [f"{one.name}/" for one in package.iterdir() if one.is_dir() and one.name != "__pycache__"]
    modules = [one.name for one in package.glob("*.py") if one.name != "__init__.py"]
    assert sorted(listed) == sorted(wings + modules)


def _lint(root: Path) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    path = ":".join(str(root / room) for room in ROOMS)
    return subprocess.run(
        command, cwd=root, env={"PYTHONPATH": path, "PATH": ""}, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source tree, to be spoilt."""
    root = tmp_path_factory.mktemp("tree")
    shutil.copy(ROOT / "pyproject.toml", root)
    for room in ROOMS:
        shutil.copytree(ROOT / room, root / room, ignore=shutil.ignore_patterns("__pycache__", "bundled"))
    return root


def test_the_import_contracts_hold(copy: Path) -> None:
    found = _lint(copy)
    assert found.returncode == 0, found.stdout


def _broken_by(copy: Path, module: str, text: str) -> str:
    """What the contracts say of a tree with `text` added to a module, or in a new one."""
    path = copy / module.partition(".")[0] / "covpool" / f"{module.replace('.', '/')}.py"
    clean = path.read_text() if path.exists() else None
    try:
        path.write_text(f"{clean or ''}\n\n{text}\n")
        found = _lint(copy)
    finally:
        if clean is None:
            path.unlink()
        else:
            path.write_text(clean)
    assert found.returncode == 1, found.stdout + found.stderr
    return found.stdout


@pytest.mark.parametrize(("module", "imported", "contract"), VIOLATIONS)
def test_each_contract_catches_its_violation(copy: Path, module: str, imported: str, contract: str) -> None:
    assert f"{contract} BROKEN" in _broken_by(copy, module, f"import {imported}")


def test_imports_for_types_alone_count(copy: Path) -> None:
    text = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import covpool.store.store"
    assert f"{STORE} BROKEN" in _broken_by(copy, "store.maintenance.gc", text)


@pytest.mark.parametrize("room", ROOMS)
def test_a_new_wing_has_to_be_entered(copy: Path, room: str) -> None:
    assert f"the wings of the {room} BROKEN" in _broken_by(copy, f"{room}.attic", "")


def test_every_contract_has_a_violation_test() -> None:
    contracts = {contract["name"] for contract in PROJECT["tool"]["importlinter"]["contracts"]}
    assert contracts == {contract for _, _, contract in VIOLATIONS}
