"""Metrics for Prometheus: this process's requests and caches, and the queue and workers of its database.

Workers on any host report to the table `workers` with every heartbeat, so that one address is enough to
scrape. Figures of the database are the same from every API process: aggregate them by `max`, not by `sum`.
"""

from collections.abc import Callable, Iterator
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from covpool.service.http.storage_watch import StorageWatch
from covpool.service.queue import JobQueue, Workers, WorkerState
from covpool.service.schemas import RecordState
from covpool.store.errors import StoreError

#: Seconds; from a body in memory to a request that waits for its job.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS"})


class Metrics:
    """The metrics of one application."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Histogram(
            "covpool_http_request_seconds",
            "Time from a request to the last byte of its answer.",
            ["method", "route", "status"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._in_flight = Gauge(
            "covpool_http_requests_in_flight", "Requests being answered.", registry=self._registry
        )
        self._cache = Counter(
            "covpool_cache_requests",
            "Looked for and found (hit) or not (miss): moments in the store, encoded bodies in memory.",
            ["cache", "outcome"],
            registry=self._registry,
        )

        self._damaged = Counter(
            "covpool_damaged_matrices",
            "Cached matrices that did not read back: another row is read (replaced), or none (lost).",
            ["outcome"],
            registry=self._registry,
        )

    def watch(self, queue: JobQueue, workers: Workers, storage: StorageWatch) -> None:
        """Expose the metrics of this queue, its workers and the arrays too."""
        self._registry.register(_Database(queue, workers, storage))

    def began(self) -> None:
        """Count a request that begins."""
        self._in_flight.inc()

    def ended(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that ended, status 0 if it broke off. `route` is the template, never the path."""
        self._in_flight.dec()
        method_label = method if method in _METHODS else "other"
        self._requests.labels(method_label, route, str(status)).observe(seconds)

    def looked_up(self, cache: str, *, hits: int, misses: int) -> None:
        """Count look-ups in a cache."""
        self._cache.labels(cache, "hit").inc(hits)
        self._cache.labels(cache, "miss").inc(misses)

    def healed(self, *, lost: bool) -> None:
        """Count a damaged matrix that was retired."""
        self._damaged.labels("lost" if lost else "replaced").inc()

    def exposed(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self._registry)


class _Database(Collector):
    """Reads the database at every scrape; without the database, the other metrics are still exposed."""

    def __init__(self, queue: JobQueue, workers: Workers, storage: StorageWatch) -> None:
        self._queue, self._workers, self._storage = queue, workers, storage

    def describe(self) -> list[Metric]:
        """Nothing: registering must not read the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The state of queue and workers now."""
        up = GaugeMetricFamily("covpool_database_up", "Whether the database answered this scrape.")
        metrics: list[Metric] = []
        try:
            metrics += self._tasks()
            metrics += _workers(self._workers.present())
        except StoreError:
            up.add_metric([], 0)
        else:
            up.add_metric([], 1)
        yield up
        yield GaugeMetricFamily(
            "covpool_storage_up",
            "Whether the arrays can be read and written.",
            float(self._storage.look() is None),
        )
        yield from metrics

    def _tasks(self) -> Iterator[Metric]:
        stats = self._queue.stats()
        depth = GaugeMetricFamily("covpool_queue_tasks", "Tasks by state.", labels=["state"])
        for state in get_args(RecordState):
            depth.add_metric([state], stats.tasks.get(state, 0))
        yield depth
        age = GaugeMetricFamily(
            "covpool_queue_oldest_seconds",
            "Time since the oldest task of a state was submitted.",
            labels=["state"],
        )
        age.add_metric(["queued"], stats.oldest_queued_s)
        age.add_metric(["running"], stats.oldest_running_s)
        yield age
        yield GaugeMetricFamily("covpool_queue_tokens", "Tokens that wait.", stats.queued_tokens)


def _workers(states: list[WorkerState]) -> Iterator[Metric]:
    yield GaugeMetricFamily("covpool_workers", "Workers heard of within a lease, on any host.", len(states))
    counted: tuple[tuple[str, str, Callable[[WorkerState], float]], ...] = (
        ("tasks", "Tasks done.", lambda w: w.tasks),
        ("tokens", "Tokens done.", lambda w: w.tokens),
        ("batches", "Batches run.", lambda w: w.batches),
        ("busy_seconds", "Time spent on batches.", lambda w: w.busy_s),
    )
    for name, description, value in counted:
        counter = CounterMetricFamily(f"covpool_worker_{name}", description, labels=["worker", "device"])
        for worker in states:
            counter.add_metric([worker.name, worker.device], value(worker))
        yield counter
    measured: tuple[tuple[str, str, Callable[[WorkerState], float | None]], ...] = (
        ("last_seen_seconds", "Time since its last heartbeat.", lambda w: w.seen_s),
        ("paused_seconds", "Time it has waited for its storage; 0 while it works.", lambda w: w.paused_s),
        ("batch_tasks", "Tasks done in its latest batch.", lambda w: w.batch_tasks),
        ("batch_tokens", "Tokens done in its latest batch.", lambda w: w.batch_tokens),
        ("tokens_per_second", "Rate of its latest batch.", _rate),
        ("device_memory_used_bytes", "Memory of its device in use.", lambda w: w.memory_used),
        ("device_memory_bytes", "Memory of its device.", lambda w: w.memory_total),
    )
    for name, description, measure in measured:
        gauge = GaugeMetricFamily(f"covpool_worker_{name}", description, labels=["worker", "device"])
        for worker in states:
            if (number := measure(worker)) is not None:
                gauge.add_metric([worker.name, worker.device], number)
        yield gauge


def _rate(worker: WorkerState) -> float | None:
    return worker.batch_tokens / worker.batch_s if worker.batch_s else None
