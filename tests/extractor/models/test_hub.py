"""Models by hub id: fetched once and then from the cache; each way to fail is told with its own remedy."""

import errno
import socket
import subprocess
from pathlib import Path

import pytest

from covpool.extractor import CheckpointError, ModelNotFoundError, describe
from covpool.extractor.models.hub import _why
from tests.extractor.golden import checkpoint
from tests.extractor.hub_server import hub
from tests.service.running import COVPOOL, environment

NAME = "owner/model"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_ETAG_TIMEOUT", 0.5)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "hub"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """A small NTv3 checkpoint as its publisher ships it."""
    made = checkpoint(tmp_path / "made")
    return {name: (made / name).read_bytes() for name in ("config.json", "model.safetensors")}


def at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)


def test_a_model_is_fetched_once_and_then_found_without_the_network(
    files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub(files | {"README.md": b"not wanted"}) as (url, asked):
        at(url, monkeypatch)
        fetched = describe(NAME, download=True)
    assert any("model.safetensors" in path for path in asked)
    assert not any("README" in path for path in asked)
    assert fetched.name == NAME
    # Nobody serves any more.
    assert describe(NAME).weights == describe(NAME, download=True).weights == fetched.weights


def test_nothing_reaches_out_unasked(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    with hub(files) as (url, asked):
        at(url, monkeypatch)
        with pytest.raises(ModelNotFoundError, match=r"fetch it once .*covpool extract --download") as caught:
            describe(NAME)
        with pytest.raises(ModelNotFoundError, match=r"--revision v2"):
            describe(NAME, revision="v2")
    assert asked == []
    assert "--revision" not in str(caught.value)


def test_what_is_never_loaded_by_hub_id_is_not_told_to_be_downloaded(
    files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelNotFoundError, match="given as a directory with its configuration") as caught:
        describe("owner/evo2_7b")
    assert "--download" not in str(caught.value)
    pickled = {"evo2_7b.pt": b"x"}
    other = {"config.json": b'{"model_type": "esm"}', "model.safetensors": b"x"}
    shards = {"config.json": files["config.json"], "pytorch_model.bin": b"x"}
    for name, held, words in (
        ("owner/evo2_7b", pickled, r"without config\.json; a model of family evo2 is given as a directory"),
        ("owner/esm", other, "model_type 'esm' is not one of evo2, ntv3; install"),
        ("owner/ntv3", shards, r"without model\.safetensors; by hub id .* other files as a directory"),
    ):
        with hub(held) as (url, asked):
            at(url, monkeypatch)
            with pytest.raises(CheckpointError, match=words):
                describe(name, download=True)
        assert not any(path.endswith((".pt", ".safetensors", ".bin")) for path in asked), "weights are large"


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, "", "does not accept the token; log in anew"),
        (401, "RepoNotFound", "has none of that name, or it is private"),
        (404, "RepoNotFound", "has none of that name, or it is private"),
        (403, "GatedRepo", r"is gated; accept its terms at http://.*/owner/model, then log in"),
        (403, "", "does not allow it to this token"),
        (404, "RevisionNotFound", "has the model and not this revision"),
        (404, "", "answered 404; check the name, and HF_ENDPOINT"),
        (503, "", "answered 503; try again later"),
    ],
)
def test_a_refusal_of_the_hub_is_told_with_its_remedy(
    status: int, code: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub({}, status=status, code=code) as (url, _):
        at(url, monkeypatch)
        with pytest.raises(ModelNotFoundError, match=words) as caught:
            describe(NAME, revision="v1", download=True)
    assert "owner/model' (revision v1)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_that_fails_is_told_as_such(
    files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def told() -> str:
        with pytest.raises(ModelNotFoundError) as caught:
            describe(NAME, download=True)
        assert "allow" not in str(caught.value)
        return str(caught.value)

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        at(address, monkeypatch)
        assert f"the hub at {address}: it cannot be reached; check the network" in told()
        silent.listen()
        assert "did not answer in time; try again" in told()
    at("http://hub.invalid", monkeypatch)
    assert "it cannot be reached; check the network" in told()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE forbids the download; unset it" in told()


def test_a_disk_that_is_full_or_closed_is_told_as_such() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    assert "the disk of the hub cache is full" in _why(NAME, full)
    wrapped = RuntimeError("a download failed")
    wrapped.__cause__ = full
    assert "make room, or set HF_HOME" in _why(NAME, wrapped)
    closed = PermissionError(errno.EACCES, "Permission denied", "/x/hub")
    assert "the hub cache cannot be written" in _why(NAME, closed)


def test_the_command_speaks_to_the_hub_of_the_environment(files: dict[str, bytes], tmp_path: Path) -> None:
    fasta = tmp_path / "g.fa"
    fasta.write_text(">a\nACGTACGTAC\n")
    with hub(files) as (url, _):
        found = subprocess.run(
            [COVPOOL, "extract", str(fasta), "--store", str(tmp_path / "s"), "--model", NAME, "--download"],
            env=environment() | {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "hf")},
            capture_output=True,
            text=True,
        )
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("a\t")
