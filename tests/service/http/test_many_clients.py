"""Two hundred clients at once: each gets its own right answer, and the service stays seen to be healthy."""

import asyncio
import time
from collections.abc import Callable

import httpx
import numpy as np
import pytest

from covpool.clients import Client
from covpool.store.values.keys import sha256
from tests.service.running import Running

CLIENTS = 200


@pytest.mark.slow
def test_two_hundred_clients_are_served_while_health_answers(
    service: Running, client: Client, record_property: Callable[[str, object], None]
) -> None:
    sequences = [f"ATG{'ACGT' * 10}{'GATTACA' * n}" for n in range(1, 21)]
    expected = client.embed(sequences)
    keys = [record.key for record in client.submit(sequences).records]
    health: list[float] = []

    async def one(http: httpx.AsyncClient, number: int) -> None:
        which = number % len(sequences)
        embedded = await http.post("/v1/embeddings", json={"input": sequences[which]})
        row = np.array(embedded.json()["data"][0]["embedding"], np.float32)
        assert np.array_equal(row, expected[which])
        matrix = await http.get(f"/v1/moments/{keys[which]}")
        assert matrix.headers["etag"] == f'"{sha256(matrix.content)}"'
        fresh = await http.post("/v1/jobs", json={"input": f"{sequences[which]}{'C' * (1 + number)}"})
        assert fresh.status_code in (200, 202)

    async def watch(http: httpx.AsyncClient, done: asyncio.Event) -> None:
        while not done.is_set():
            for path in ("/health/live", "/health/ready"):
                began = time.perf_counter()
                assert (await http.get(path)).status_code == 200
                health.append(time.perf_counter() - began)
            await asyncio.sleep(0.01)

    async def all_at_once() -> float:
        limits = httpx.Limits(max_connections=None)
        async with (
            httpx.AsyncClient(base_url=service.url, timeout=120, limits=limits) as http,
            httpx.AsyncClient(base_url=service.url, timeout=120) as apart,
        ):
            done = asyncio.Event()
            watching = asyncio.create_task(watch(apart, done))
            began = time.perf_counter()
            await asyncio.gather(*(one(http, number) for number in range(CLIENTS)))
            done.set()
            await watching
            return time.perf_counter() - began

    took = asyncio.run(all_at_once())
    p50, p99 = np.percentile(np.array(health) * 1000, [50, 99])
    told = f"{CLIENTS} clients, 600 requests in {took:.1f} s; health p50 {p50:.0f} ms, p99 {p99:.0f} ms"
    record_property("many clients", told)
    print(told)  # noqa: T201
    assert len(health) > 1
