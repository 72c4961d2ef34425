"""No-op jobs per second through the ledger against bare Celery, end to end, and how soon a submitted job starts."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import redis

from benchmarks.bench import Bench, in_turn
from benchmarks.house import House
from benchmarks.processes import Child, Peer, Trouble, wait_until
from benchmarks.report import Table, at_least, percentile, ratios, spread
from benchmarks.usage import cpu_seconds

SLOTS = 4  # the default BACKGROUND_CONCURRENCY
OURS, BARE, TOLD = "job ledger", "bare Celery", "bare Celery, task events on"
AIM = 0.5
# Where each system's broker lies, so that no worker sees another's messages.
_BARE_DB, _TOLD_DB = 1, 2
LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class _Drained:
    """`rate` in tasks per second, `cpu_ms` the worker's processor time per task."""

    rate: float
    cpu_ms: float


@dataclass(slots=True)
class _System:
    """A worker that is held still (SIGSTOP) but for its own rounds, and the process that sends it work."""

    worker: Child
    broker: redis.Redis
    queue: str
    fill: Callable[[int], object]
    ring: Callable[[int], list[float]]
    count: int

    def hold(self) -> None:
        os.kill(self.worker.pid, signal.SIGSTOP)

    def release(self) -> None:
        os.kill(self.worker.pid, signal.SIGCONT)

    def drain(self) -> _Drained:
        """From the moment the worker may run to the last acknowledgement."""
        self.fill(self.count)
        self.broker.delete("upkeep")  # the sweeps that beat asked for while the worker was held
        cpu = cpu_seconds(self.worker.pid)
        self.release()
        started = time.perf_counter()
        # Twice in a row: between leaving its queue and being noted as unacknowledged a message is in neither.
        empty = 0
        while empty < 2:
            empty = empty + 1 if self._is_empty() else 0
            if time.perf_counter() - started > LIMIT_S:
                raise Trouble(f"{self.worker.name} has not emptied its queue after {LIMIT_S:g} s")
            time.sleep(0.01)
        seconds = time.perf_counter() - started
        self.hold()
        return _Drained(self.count / seconds, 1000 * (cpu_seconds(self.worker.pid) - cpu) / self.count)

    def latency(self, count: int) -> list[float]:
        self.broker.delete("upkeep")
        self.release()
        time.sleep(0.5)
        found = self.ring(count)
        self.hold()
        return found

    def _is_empty(self) -> bool:
        pipe = self.broker.pipeline(transaction=False)
        pipe.hlen("unacked")
        pipe.llen(self.queue)
        for step in range(1, 10):  # a priority has a list of its own
            pipe.llen(f"{self.queue}\x06\x16{step}")
        return sum(pipe.execute()) == 0


def _ours(house: House, count: int) -> _System:
    side = house.peer("benchmarks.ledger_side")
    side.call("prepare")
    house.start("background", "beat")
    return _System(
        house.children["background"],
        house.redis(),
        "noop",
        lambda number: side.call("fill", count=number),
        lambda number: side.call("ring", count=number),
        count,
    )


def _bare(house: House, name: str, db: int, count: int, *flags: str) -> _System:
    env = {
        "BARE_BROKER": f"redis+socket://{house.redis_socket}?virtual_host={db}",
        "BARE_REDIS": f"unix://{house.redis_socket}?db={db}",
    }
    side: Peer = house.peer("benchmarks.bare_celery", **env)
    worker = house.start_other(name, "benchmarks.bare_celery", name, str(SLOTS), *flags, **env)
    system = _System(
        worker,
        house.redis(db),
        name,
        lambda number: side.call("fill", queue=name, count=number),
        lambda number: side.call("ring", queue=name, count=number),
        count,
    )
    side.call("fill", queue=name, count=1)
    wait_until(system._is_empty, 60, f"the {name} worker")
    return system


def measure(bench: Bench) -> Table:
    count, rounds, tries = bench.pick(3_000, 600), bench.pick(5, 2), bench.pick(200, 50)
    with House(bench.folder / "house", BACKGROUND_CONCURRENCY=str(SLOTS)) as house:
        systems = {
            OURS: _ours(house, count),
            BARE: _bare(house, "bare", _BARE_DB, count),
            TOLD: _bare(house, "told", _TOLD_DB, count, "-E"),
        }
        for system in systems.values():
            system.hold()
        for system in systems.values():
            system.drain()  # warm
        drained = in_turn(bench, rounds, {name: system.drain for name, system in systems.items()})
        waits = in_turn(bench, 2, {name: partial(one.latency, tries) for name, one in systems.items()})
        _check(house, (rounds + 1) * count + 2 * tries)
    return _table(count, drained, {name: [ms for run in runs for ms in run] for name, runs in waits.items()})


def _check(house: House, jobs: int) -> None:
    """Every job succeeded, at its first attempt."""
    found = house.sql("SELECT status, attempt, count(*) FROM job GROUP BY 1, 2")
    if found != [("succeeded", 1, jobs)]:
        raise Trouble(f"{jobs} jobs should have succeeded at the first attempt; (status, attempt, jobs): {found}")


def _table(count: int, drained: dict[str, list[_Drained]], waits: dict[str, list[float]]) -> Table:
    rates = {name: [one.rate for one in runs] for name, runs in drained.items()}
    cpu = {name: [one.cpu_ms for one in runs] for name, runs in drained.items()}
    compared = {name: ratios(rates[OURS], rates[name]) for name in (BARE, TOLD)}
    rows = []
    for name in (OURS, BARE, TOLD):
        ratio = "" if name == OURS else f"{spread(compared[name])}×"
        aim = at_least(statistics.median(compared[BARE]), AIM, "×") if name == BARE else ""
        tails = [f"{percentile(waits[name], percent):.1f}" for percent in (50, 99)]
        rows.append((name, spread(rates[name]), ratio, aim, spread(cpu[name]), *tails))
    return Table(
        "Doing jobs that do nothing",
        f"Rounds of {count} jobs, accepted and sent beforehand, from the moment the worker may run to the last "
        f"acknowledgement; threads pool, {SLOTS} slots, acks_late, prefetch 1, one append-only Redis. The ledger "
        f"claims each job, writes its events and ends it in the database, with beat sweeping every second; its worker "
        f"sends task events too, because Flower needs them. Median of {len(rates[OURS])} alternating rounds "
        f"(lowest–highest). Submit → start: {len(waits[OURS])} single submits to an idle worker, from before the "
        f"transaction to hearing that the task runs.",
        ("", "jobs/s", "ledger is", "aim", "worker CPU ms/job", "submit → start p50 ms", "p99 ms"),
        rows,
        data={"rates": rates, "cpu_ms": cpu, "submit_to_start_ms": waits, "ratios": compared},
    )
