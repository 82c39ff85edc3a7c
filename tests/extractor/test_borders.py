"""Borders of the extractor: of torch and safetensors callers see no error but ours."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from covpool.extractor import describe, extract, load_adapter
from covpool.extractor.adapters.adapter import Adapter
from covpool.extractor.adapters.devices import own_errors
from covpool.extractor.errors import CheckpointError, DeviceError, ExtractionError, OutOfMemoryError
from tests.extractor.golden import checkpoint


def own(error: BaseException) -> bool:
    """Whether it is of covpool and of Python alone."""
    return isinstance(error, ExtractionError) and all(
        kind.__module__.split(".")[0] in ("covpool", "builtins") for kind in type(error).__mro__
    )


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    return load_adapter("ntv3-mini")


LIMITED = """
import resource, psutil
from covpool.extractor import ExtractionError, extract, load_adapter
adapter = load_adapter("ntv3-mini")
extract(adapter, "ACGT" * 100, ["final"])
now = psutil.Process().memory_info().vms
resource.setrlimit(resource.RLIMIT_AS, (now + (8 << 20),) * 2)
try:
    extract(adapter, "ACGT" * 50_000, [layer.name for layer in adapter.model.layers])
except ExtractionError as error:
    print(type(error).__name__, error)
"""


def test_memory_that_truly_runs_out() -> None:
    ran = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("OutOfMemoryError "), ran
    assert "use shorter sequences" in ran.stdout


def test_the_allocators_own_words(adapter: Adapter) -> None:
    with pytest.raises(OutOfMemoryError) as caught, own_errors():
        torch.empty(1 << 60, dtype=torch.uint8)
    assert own(caught.value)


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), OutOfMemoryError),
        (MemoryError(), OutOfMemoryError),
        (torch.linalg.LinAlgError("it did not converge"), DeviceError),  # type: ignore[attr-defined]
    ],
    ids=lambda one: getattr(one, "__name__", type(one).__name__),
)
def test_a_device_that_fails_in_a_forward(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch, raised: Exception, seen: type[ExtractionError]
) -> None:
    def failing(*_: object, **__: object) -> object:
        raise raised

    monkeypatch.setattr(adapter, "batch", failing)
    with pytest.raises(seen) as caught:
        extract(adapter, "ACGTACGT", ["final"])
    assert own(caught.value)
    assert caught.value.__cause__ is raised


def test_what_a_caller_raises_in_its_progress_passes(adapter: Adapter) -> None:
    def stop(_: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        extract(adapter, "ACGTACGT", ["final"], progress=stop)


@pytest.mark.parametrize(
    "content", [b"", b"tea", b'\x08\0\0\0\0\0\0\0{"a":[]}', b"PK\x03\x04tea"], ids=range(4)
)
@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_files_that_are_damaged(tmp_path: Path, file: str, content: bytes) -> None:
    folder = checkpoint(tmp_path / "tiny")
    (folder / file).write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load_adapter(str(folder))
    assert own(caught.value)


def test_files_that_are_damaged_after_they_were_described(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "tiny")
    weights = (folder / "model.safetensors").read_bytes()
    describe(str(folder))
    for content in (b"", weights[:-1], weights[: len(weights) // 2], b"tea" * 1000):
        (folder / "model.safetensors").write_bytes(content)
        with pytest.raises(ExtractionError) as caught:
            load_adapter(str(folder))
        assert own(caught.value)
