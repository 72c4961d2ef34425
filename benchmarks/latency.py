"""On an idle system: from submitting a job to its first event, to its start and to its end, over HTTP."""

from __future__ import annotations

import random
import time

from benchmarks.bench import Bench
from benchmarks.house import House
from benchmarks.processes import Trouble
from benchmarks.report import Table, below, percentile
from benchmarks.web import Web

FLOOR, ACCEPTED = "GET /health (round trip)", "202 of the POST"
FIRST, STARTED, ENDED = "first event (`queued`)", "`started`", "`done`"
AIM_MS = 15.0


def measure(bench: Bench) -> Table:
    tries = bench.pick(200, 40)
    with House(bench.folder / "house") as house:
        house.start("web", "background", "beat")
        web = Web(house.port)
        for _ in range(20):
            _try(web)
        bench.say(f"{tries} tries")
        found: dict[str, list[float]] = {name: [] for name in (FLOOR, ACCEPTED, FIRST, STARTED, ENDED)}
        for _ in range(tries):
            time.sleep(random.uniform(0.01, 0.05))  # idle between tries, and in step with nothing
            for name, ms in {FLOOR: _round_trip(web), **_try(web)}.items():
                found[name].append(ms)
        web.close()
    return _table(found)


def _round_trip(web: Web) -> float:
    started = time.perf_counter()
    web.get("/health")
    return 1000 * (time.perf_counter() - started)


def _try(web: Web) -> dict[str, float]:
    """Milliseconds from before the POST to each event's arrival."""
    seen: dict[str, float] = {}
    started = time.perf_counter()
    job = web.post("/api/jobs", {"kind": "noop", "input": {}})
    accepted = 1000 * (time.perf_counter() - started)
    for kind in web.event_types(job["id"]):
        seen[kind] = 1000 * (time.perf_counter() - started)
    if missing := {"queued", "started", "done"} - seen.keys():
        raise Trouble(f"the events of a job ended without {', '.join(sorted(missing))}")
    return {ACCEPTED: accepted, FIRST: seen["queued"], STARTED: seen["started"], ENDED: seen["done"]}


def _table(found: dict[str, list[float]]) -> Table:
    floor = percentile(found[FLOOR], 50)
    rows = []
    for name, values in found.items():
        middle = percentile(values, 50)
        tails = [f"{percentile(values, percent):.1f}" for percent in (50, 95, 99)]
        aim = below(middle, AIM_MS, " ms") if name == FIRST else ""
        rows.append((name, *tails, f"{middle / floor:.1f}×", aim))
    return Table(
        "From submit to the first event",
        f"{len(found[FIRST])} tries, one at a time on an idle system (Redis, web, background worker, beat): POST "
        f"/api/jobs with kind noop, then GET its events on the same connection. Milliseconds since before the POST.",
        ("until", "p50", "p95", "p99", "p50 ratio", "aim"),
        rows,
        data={"milliseconds": found},
    )
