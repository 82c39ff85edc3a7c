"""docker/: linted, fit for the compose specification, and their commands run as plain processes."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import compose_spec
import httpx
import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement

from covpool.clients import Client
from covpool.extractor import read_fasta
from tests.s3 import S3Server
from tests.service.running import ready, wait_until

DOCKER = Path(__file__).parents[2] / "docker"
BIN = Path(sys.executable).parent
SECRETS = {"POSTGRES_PASSWORD": "postgres-password", "OBJECTS_PASSWORD": "objects-password"}


def instructions(name: str) -> list[tuple[str, str]]:
    """Instruction and arguments of each line of the last stage."""
    text = (DOCKER / f"{name}.Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#")]
    found = [(first, rest) for first, rest in lines]
    last = max(index for index, (first, _) in enumerate(found) if first == "FROM")
    return found[last:]


def command(name: str, instruction: str) -> list[str]:
    """The exec form of CMD or HEALTHCHECK, its program as installed here."""
    ((_, rest),) = [one for one in instructions(name) if one[0] == instruction]
    program, *arguments = json.loads(rest[rest.index("[") :])
    return [str(BIN / program), *arguments]


def interpolated(value: Any) -> str:
    """As compose does: ${NAME:-default} and ${NAME:?what to do}."""
    return re.sub(
        r"\$\{(\w+):([-?])([^}]*)\}",
        lambda found: SECRETS[found[1]] if found[2] == "?" else SECRETS.get(found[1], found[3]),
        str(value),
    )


def environment(name: str) -> dict[str, str]:
    """What a container of this service would find: of its image, then of compose.yaml."""
    found: dict[str, str] = {}
    for first, rest in instructions(name):
        if first == "ENV":
            for word in shlex.split(rest):
                variable, _, value = word.partition("=")
                found[variable] = value
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    return found | {
        key: interpolated(value) for key, value in compose["services"][name]["environment"].items()
    }


@contextmanager
def started(arguments: list[str], variables: Mapping[str, str], log: Path) -> Iterator[None]:
    """The process while the body runs; told to stop as `docker stop` does."""
    with log.open("ab") as lines:
        process = subprocess.Popen(arguments, env=dict(variables), stdout=lines, stderr=lines)
    try:
        yield
    finally:
        process.terminate()
        code = process.wait(60)
    assert code in (0, -15), log.read_text()


@pytest.mark.parametrize("name", ["api", "worker"])
def test_images_pass_hadolint_and_run_without_privileges(name: str) -> None:
    ran = subprocess.run(
        [BIN / "hadolint", "--failure-threshold", "style", DOCKER / f"{name}.Dockerfile"],
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stdout) == (0, "")
    users = [rest for first, rest in instructions(name) if first == "USER"]
    assert users == ["10001:10001"]


@pytest.mark.parametrize("file", ["compose.yaml", "compose.gpu.yaml"])
def test_compose_files_fit_the_compose_specification(file: str) -> None:
    compose_spec.PyOptions(apply_merge=True).from_yaml((DOCKER / file).read_text()).validate()


def test_what_compose_starts_is_checked_for_health_and_waited_for() -> None:
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    assert {"postgres", "objects", "bucket", "api", "worker"} == set(services)
    for name, service in services.items():
        image = instructions(name) if "build" in service else []
        checked = "healthcheck" in service or any(first == "HEALTHCHECK" for first, _ in image)
        assert checked or name == "bucket"
        for needed, how in service.get("depends_on", {}).items():
            assert how["condition"] == (
                "service_completed_successfully" if needed == "bucket" else "service_healthy"
            )
    grace = {name: int(services[name]["stop_grace_period"].rstrip("s")) for name in ("api", "worker")}
    assert grace["api"] > float(services["api"]["environment"]["COVPOOL_SHUTDOWN_S"])
    assert grace["worker"] > float(services["worker"]["environment"]["COVPOOL_DRAIN_S"])
    # Nothing but this machine reaches a service without tokens.
    assert services["api"]["ports"] == ["127.0.0.1:8000:8000"]


def test_the_api_image_holds_no_torch() -> None:
    text = (DOCKER / "api.Dockerfile").read_text()
    extras = re.search(r"'\.\[([a-z0-9,]+)\]'", text)
    assert extras is not None
    wanted, seen = [Requirement(f"covpool[{extras[1]}]")], set()
    while wanted:
        one = wanted.pop()
        for held in [Requirement(line) for line in requires(one.name) or []]:
            asked = [{"extra": extra} for extra in one.extras or {""}]
            if held.marker is None or any(held.marker.evaluate(variables) for variables in asked):
                name = (held.name.lower(), frozenset(held.extras))
                if name not in seen:
                    seen.add(name)
                    wanted.append(held)
    names = {name for name, _ in seen}
    assert {"fastapi", "sqlalchemy", "psycopg", "obstore"} <= names
    assert not names & {"torch", "transformers", "triton"}


def test_the_images_commands_serve_a_gene_over_postgres_and_s3(
    postgres_url: str, s3: S3Server, tmp_path: Path, genes: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    bucket = s3.new_bucket()
    # What differs from the containers: where the other services are, and a free port.
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("COVPOOL_", "AWS_"))}
    here = {
        "COVPOOL_CATALOG": postgres_url,
        "COVPOOL_STORE": f"s3://{bucket}/store",
        "COVPOOL_HOST": "127.0.0.1",
        "COVPOOL_PORT": port,
        "AWS_ENDPOINT_URL": s3.endpoint,
        "HOME": str(tmp_path),
        "PATH": ours["PATH"],
        "XDG_CACHE_HOME": ours["XDG_CACHE_HOME"],
    }
    variables = {name: ours | environment(name) | here for name in ("api", "worker")}
    assert variables["api"]["COVPOOL_WORKERS"] == "0"
    check = {name: command(name, "HEALTHCHECK") for name in variables}

    def healthy(name: str) -> bool:
        return subprocess.run(check[name], env=variables[name], capture_output=True).returncode == 0

    log = tmp_path / "api.log"
    url = f"http://127.0.0.1:{port}"
    gene = min(read_fasta(genes), key=len)
    with ExitStack() as running:
        running.enter_context(started(command("api", "CMD"), variables["api"], log))
        wait_until(lambda: _status(url) == 503, "the API to answer that no worker is there")
        assert not healthy("api")
        running.enter_context(started(command("worker", "CMD"), variables["worker"], tmp_path / "worker.log"))
        wait_until(lambda: ready(url), "a worker to be heard of")
        assert healthy("api")
        assert healthy("worker")
        with Client(url) as client:
            embedding = client.embed(gene.bases, square=True)
        assert embedding.shape == (1, 16, 16)
        assert np.isfinite(embedding).all()
    assert any(str(path).startswith("store/arrays/") for path in _objects(s3, bucket))
    # JSON, as the image says, from the first line to the last.
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert any(line.get("route") == "/v1/embeddings" and line["status"] == 200 for line in lines)
    assert gene.bases[:40] not in log.read_text()


def _status(url: str) -> int | None:
    try:
        return httpx.get(f"{url}/health/ready").status_code
    except httpx.TransportError:
        return None


def _objects(s3: S3Server, bucket: str) -> list[str]:
    return [one["path"] for page in s3.objects(bucket).list() for one in page]
