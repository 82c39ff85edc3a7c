"""Weights replaced under a running service: its keys name the weights that ran, or the task is refused."""

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from covpool.clients import Client
from covpool.clients.errors import ClientError, JobFailedError
from covpool.extractor import Sequence, describe, extract, load_adapter
from covpool.extractor.models.models import Model
from covpool.service.schemas import Job
from covpool.store import MomentsKey
from covpool.store.poolings.bottleneck import Bottleneck
from tests.extractor.golden import checkpoint
from tests.service.running import Running, running_service

LAYER = "up.2"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Path]]:
    """A service with one worker, whose memory holds one model, over two checkpoints."""
    where = tmp_path_factory.mktemp("replaced")
    tiny, other = checkpoint(where / "tiny"), checkpoint(where / "other", layer_norm_eps=1e-4)
    with running_service(where, models=f"{tiny},{other}", model_memory="1", poll_s="0.05") as running:
        yield running, tiny


@pytest.fixture
def client(served: tuple[Running, Path]) -> Iterator[Client]:
    with Client(served[0].url) as found:
        yield found


def other_weights(tiny: Path, seed: int) -> bytes:
    """A well-formed file of the same size with other numbers."""
    torch.manual_seed(seed)
    file = tiny / "model.safetensors"
    found = save({name: value + 0.1 * torch.randn(()) for name, value in load_file(file).items()})
    assert len(found) == file.stat().st_size
    return found


def replace(tiny: Path, how: str, data: bytes) -> None:
    if how == "by rename":
        (tiny / "new").write_bytes(data)
        (tiny / "new").replace(tiny / "model.safetensors")
    else:
        with (tiny / "model.safetensors").open("r+b") as file:
            file.write(data)


def ended(client: Client, job: Job) -> Job:
    """The job once nothing of it is left to run."""
    try:
        return client.wait(job, timeout_s=60)
    except JobFailedError as failed:
        return failed.job


def check(client: Client, tiny: Path, bases: str) -> str:
    """What the service answers now are the key and the moments of the checkpoint that lies there."""
    job = ended(client, client.submit(bases, model="tiny", layer=LAYER, pooling="second_moment"))
    assert job.state == "done", job.records
    model, key = describe(str(tiny)), job.records[0].key
    assert key == key_of(model, bases)
    expected = extract(load_adapter(str(tiny), device="cpu"), bases, [LAYER])[LAYER].second_moment
    found = client.moments(key).second_moment
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert [one.weights for one in client.models() if one.name == "tiny"] == [model.weights]
    return key


def key_of(model: Model, bases: str) -> str:
    return MomentsKey(Sequence("", bases).digest, len(bases), model.recipe(LAYER)).digest


def test_replaced_weights_run_under_their_own_digest(served: tuple[Running, Path], client: Client) -> None:
    _, tiny = served
    bases = "ACGTTGCAAC" * 20
    seen = set[str]()
    # Before the first task; with the model in memory; after it was evicted and loaded again.
    for seed, how in enumerate(("by rename", "in place", "by rename", "in place")):
        replace(tiny, how, other_weights(tiny, seed))
        seen.add(check(client, tiny, bases))
        if seed > 0:
            ended(client, client.submit(f"{bases}{'A' * seed}", model="other", layer=LAYER))
    assert len(seen) == 4


@pytest.mark.parametrize("how", ["by rename", "in place"])
def test_a_task_of_weights_that_are_gone_is_refused_with_the_remedy(
    served: tuple[Running, Path], client: Client, how: str
) -> None:
    running, tiny = served
    bases = f"{'GATTACA' * 30}{'A' * len(how)}"
    (worker,) = running.workers()
    worker.send_signal(signal.SIGSTOP)
    old = key_of(describe(str(tiny)), bases)
    job = client.submit(bases, model="tiny", layer=LAYER, pooling="second_moment")
    replace(tiny, how, other_weights(tiny, 10 + len(how)))
    worker.send_signal(signal.SIGCONT)
    job = ended(client, job)
    assert (job.state, job.records[0].key) == ("failed", old)
    assert "submit again" in (job.records[0].error or "")
    with pytest.raises(ClientError, match="not in the store"):
        client.moments(old)
    assert check(client, tiny, bases) != old


def test_files_gone_or_half_written_stop_no_other_model(served: tuple[Running, Path], client: Client) -> None:
    _, tiny = served
    whole = (tiny / "model.safetensors").read_bytes()
    (tiny / "model.safetensors").unlink()
    (tiny / "config.json").rename(tiny / "config.away")
    job = ended(client, client.submit("ACGT" * 33, model="other", layer=LAYER))
    assert job.state == "done"
    refused = ended(client, client.submit("ACGT" * 34, model="tiny", layer=LAYER))
    assert refused.state == "failed"
    (tiny / "config.away").rename(tiny / "config.json")
    (tiny / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    half = ended(client, client.submit("ACGT" * 35, model="tiny", layer=LAYER))
    assert half.state == "failed"
    assert "not a readable safetensors file" in (half.records[0].error or "")
    (tiny / "model.safetensors").write_bytes(whole)
    check(client, tiny, "ACGT" * 36)


def test_answers_tell_the_digest_of_the_bottleneck_that_was_applied(service: Running, genes: Path) -> None:
    file = next((describe("ntv3-mini").checkpoint.directory).glob("bottleneck*.safetensors"))
    digest = Bottleneck.load(file).digest
    with httpx.Client(base_url=service.url, timeout=60) as http:
        name = Bottleneck.load(file).name
        asked = {"input": "ACGT" * 40, "pooling": name}
        assert http.post("/v1/embeddings", json=asked).json()["fitted"] == {name: digest}
        asked |= {"pooling": f"mean+{name}"}
        assert http.post("/v1/embeddings", json=asked).json()["fitted"] == {name: digest}
        listed = http.get("/v1/bottlenecks").json()["data"]
        assert digest in [bottleneck["digest"] for bottleneck in listed]


def test_two_poolings_of_one_name_have_two_digests() -> None:
    one, two = np.eye(4, 2), np.eye(4, 2)
    two[3, 1] = 1e-7
    assert Bottleneck(one, one, name="x").digest == Bottleneck(one, one.copy(), name="x").digest
    assert Bottleneck(one, two, name="x").digest != Bottleneck(one, one, name="x").digest
    assert Bottleneck(one, one, name="y").digest != Bottleneck(one, one, name="x").digest
