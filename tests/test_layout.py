"""The architecture as tests: rooms, namespace, weight of the base install, import contracts."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("extractor", "store", "service", "clients")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

#: One forbidden import per contract: the file it is added to, the line, and the contract it must break.
VIOLATIONS = [
    (
        "store/covpool/store/values/moments.py",
        "import covpool.extractor.sequences.sequences",
        "data flows one way: service -> extractor -> store",
    ),
    (
        "extractor/covpool/extractor/sequences/sequences.py",
        "import covpool.service.schemas",
        "data flows one way: service -> extractor -> store",
    ),
    (
        "extractor/covpool/extractor/extraction/extract.py",
        "import covpool.store.store",
        "the extractor computes and never stores: it sees only the store's value types",
    ),
    (
        "clients/covpool/clients/client.py",
        "import covpool.store.values.moments",
        "clients see the wire contract and nothing else of ours",
    ),
    (
        "service/covpool/service/schemas/requests.py",
        "import covpool.store.values.keys",
        "the wire contract imports nothing of ours",
    ),
    (
        "service/covpool/service/http/routes/health.py",
        "import torch",
        "the API process never loads torch",
    ),
    (
        "extractor/covpool/extractor/sequences/fasta.py",
        "import covpool.extractor.extraction.accumulate",
        "the API process never loads torch",
    ),
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


@pytest.mark.parametrize(("file", "line", "contract"), VIOLATIONS)
def test_each_contract_catches_its_violation(copy: Path, file: str, line: str, contract: str) -> None:
    path = copy / file
    clean = path.read_text()
    try:
        path.write_text(f"{clean}\n\n{line}\n")
        found = _lint(copy)
    finally:
        path.write_text(clean)
    assert found.returncode == 1
    assert f"{contract} BROKEN" in found.stdout


def test_every_contract_has_a_violation_test() -> None:
    contracts = {contract["name"] for contract in PROJECT["tool"]["importlinter"]["contracts"]}
    assert contracts == {contract for _, _, contract in VIOLATIONS}
