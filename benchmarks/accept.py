"""Accepted jobs per second: the real API against the same stack doing nothing but `send_task`."""

from __future__ import annotations

import json
import statistics
from typing import Any

from benchmarks.bench import Bench, in_turn
from benchmarks.house import House, answers_http, free_port
from benchmarks.processes import Trouble
from benchmarks.report import Table, percentile, ratios, spread
from benchmarks.usage import cpu_seconds

CONNECTIONS = 32
# A round fills the queue from empty to the default OWNER_QUEUE_LIMIT, the deepest a caller can make it.
REQUESTS = 2_000
WARM_UP = 300
OURS, BARE = "POST /api/jobs", "send_task alone"


class _Accepting:
    """Both servers beside one Redis, and nobody who takes what they queue."""

    def __init__(self, house: House, requests: int) -> None:
        self._house, self._requests = house, requests
        self._load = house.peer("benchmarks.load")
        self._bare_port = free_port()
        self._bare = bare = house.start_other("bare-web", "benchmarks.bare_web", str(self._bare_port))
        house.start("web")
        bare.wait_ready(lambda: answers_http(self._bare_port, "/health"))

    def ours(self) -> dict[str, Any]:
        found = self._post(self._house.port, self._house.children["web"].pid, self._requests)
        rows = self._house.sql("SELECT count(*) FROM job WHERE status = 'queued'")[0][0]
        if rows != self._requests:
            raise Trouble(f"{self._requests} jobs were accepted and {rows} rows written")
        self.empty()
        return found

    def bare(self) -> dict[str, Any]:
        found = self._post(self._bare_port, self._bare.pid, self._requests)
        self.empty()
        return found

    def warm_up(self) -> None:
        self._post(self._house.port, self._house.children["web"].pid, WARM_UP)
        self._post(self._bare_port, self._bare.pid, WARM_UP)
        self.empty()

    def empty(self) -> None:
        self._house.sql("DELETE FROM job")
        client = self._house.redis()
        if keys := [key for key in client.scan_iter("noop*") if client.type(key) == b"list"]:
            client.delete(*keys)

    def _post(self, port: int, pid: int, requests: int) -> dict[str, Any]:
        cpu = cpu_seconds(pid)
        body = json.dumps({"kind": "noop", "input": {}})
        found: dict[str, Any] = self._load.call(
            "post_many", port=port, path="/api/jobs", body=body, requests=requests, connections=CONNECTIONS
        )
        if set(found["statuses"]) != {"202"}:
            raise Trouble(f"not every job was accepted: {found['statuses']}")
        return found | {"cpu_ms": 1000 * (cpu_seconds(pid) - cpu) / requests}


def measure(bench: Bench) -> Table:
    rounds = bench.pick(full=7, quick=3)
    with House(bench.folder / "house", OWNER_QUEUE_LIMIT=str(REQUESTS + WARM_UP)) as house:
        accepting = _Accepting(house, REQUESTS)
        accepting.warm_up()
        found = in_turn(bench, rounds, {OURS: accepting.ours, BARE: accepting.bare})
    return _table(found)


def _table(found: dict[str, list[dict[str, Any]]]) -> Table:
    rates = {name: [len(one["latencies_ms"]) / one["seconds"] for one in runs] for name, runs in found.items()}
    tails = {
        name: {percent: [percentile(one["latencies_ms"], percent) for one in runs] for percent in (50, 99)}
        for name, runs in found.items()
    }
    cpu = {name: [one["cpu_ms"] for one in runs] for name, runs in found.items()}
    compared = ratios(rates[OURS], rates[BARE])
    rows = [
        (
            name,
            spread(rates[name]),
            spread(tails[name][50]),
            spread(tails[name][99]),
            f"{spread(compared)}×" if name == OURS else "1×",
            spread(cpu[name]),
        )
        for name in (OURS, BARE)
    ]
    return Table(
        "Accepting jobs",
        f"{CONNECTIONS} keep-alive connections from another process, rounds of {REQUESTS} requests that fill the queue "
        f"from empty; kind noop, one web process each, no worker. The baseline is the same server, framework, "
        f"middleware and body with a handler that only does `send_task` in one of 4 threads. "
        f"Median of {len(compared)} alternating rounds (lowest–highest).",
        ("", "jobs/s", "p50 ms", "p99 ms", "rate ratio", "server CPU ms/job"),
        rows,
        data={"rates": rates, "latency_ms": tails, "cpu_ms": cpu, "ratio": statistics.median(compared)},
    )
