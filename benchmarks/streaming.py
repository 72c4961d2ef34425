"""From the engine's token to the listener's byte, and what hundreds of listeners cost the engine."""

from __future__ import annotations

import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks import machine
from benchmarks.bench import Bench, in_turn
from benchmarks.house import House
from benchmarks.processes import Peer, Trouble, clean_environment, wait_until
from benchmarks.report import Table, at_least, below, number, percentile, spread
from benchmarks.systems import CONTEXT, SLOTS, house_settings, make_model
from benchmarks.talk import Heard, Talk, questions
from benchmarks.usage import cpu_seconds
from benchmarks.web import Web

LISTENERS, WORDS = 500, 40
AIM_MS, AIM_RATE = 5.0, 0.95
ONE, MANY, CROWD = "1 talker", f"{SLOTS} talkers", f"{SLOTS} talkers and {LISTENERS} listeners"
# In this long the listeners have to have come, and to have gone.
COME_S, GO_S = 60.0, 1.0

Window = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Run:
    """`delays_ms` of the talkers' own tokens in the measured time; `heard`: events by the crowd in it, and `web_s` of
    processor time of the web process; `kept`: the rate against the mean of before they came and after they left."""

    rate: float
    delays_ms: list[float]
    heard: int = 0
    web_s: float = 0.0
    kept: float = 1.0


class _Hall:
    """A house whose engine notes its tokens, talkers who can be stopped, and a crowd."""

    def __init__(self, bench: Bench, house: House, stamps: Path) -> None:
        self._house, self._stamps = house, stamps
        self._window_s = bench.pick(8, 4)
        self._talkers, self._crowd = house.peer("benchmarks.over_http"), house.peer("benchmarks.listeners")
        self._web = Web(house.port)
        self._seed = 0

    def close(self) -> None:
        self._web.close()

    def floor_ms(self) -> float:
        found = []
        for _ in range(50):
            started = time.perf_counter()
            self._web.get("/health")
            found.append(1000 * (time.perf_counter() - started))
        return statistics.median(found)

    def alone(self, count: int) -> Run:
        jobs, answers, windows = self._hold(count, lambda _jobs: [self._window()])
        return self._found(jobs, answers, windows[0])

    def crowded(self, count: int) -> Run:
        """The same answers before the crowd came, with it and after it left: their contexts grow meanwhile."""
        heard, web_s, web = 0, 0.0, self._house.children["web"].pid

        def measure(jobs: list[str]) -> list[Window]:
            nonlocal heard, web_s
            before = self._window()
            self._crowd.call("listen", COME_S, port=self._house.port, jobs=jobs, count=LISTENERS)
            heard, web_s = -self._crowd.call("heard"), -cpu_seconds(web)
            beside = self._window()
            heard, web_s = heard + self._crowd.call("heard"), web_s + cpu_seconds(web)
            self._crowd.call("leave")
            time.sleep(GO_S)
            return [before, beside, self._window()]

        jobs, answers, windows = self._hold(count, measure)
        before, beside, after = (self._found(jobs, answers, window) for window in windows)
        return replace(beside, heard=heard, web_s=web_s, kept=2 * beside.rate / (before.rate + after.rate))

    def _window(self) -> Window:
        since = time.monotonic()
        time.sleep(self._window_s)
        return since, time.monotonic()

    def _hold(
        self, count: int, measure: Callable[[list[str]], list[Window]]
    ) -> tuple[list[str], list[Heard], list[Window]]:
        """Measures while so many answers are being written, and cancels them."""
        self._seed += 1
        talks = [Talk([text], CONTEXT - 200) for text in questions(count, WORDS, self._seed)]
        answers: list[Heard] = []
        talking = threading.Thread(target=self._talk, args=(talks, answers))
        talking.start()
        try:
            jobs = self._running(count)
            windows = measure(jobs)
        finally:
            for (job,) in self._house.sql("SELECT id FROM job WHERE kind = 'chat' AND status IN ('queued', 'running')"):
                self._web.post(f"/api/jobs/{job}/cancel", {})
            talking.join()
        return jobs, answers, windows

    def _talk(self, talks: list[Talk], answers: list[Heard]) -> None:
        spoken = [asdict(talk) for talk in talks]
        found = self._talkers.call("converse", system="backchannel", port=self._house.port, talks=spoken)
        answers += [Heard(**answer) for [answer] in found]

    def _running(self, count: int) -> list[str]:
        """The talkers' jobs, once every one of them has said something."""
        said = "SELECT id FROM job WHERE kind = 'chat' AND status = 'running'"
        wait_until(lambda: len(self._house.sql(said)) == count, 60.0, "the talkers' jobs")
        jobs = [str(job) for (job,) in self._house.sql(said)]
        wait_until(lambda: all(job in self._drawn() for job in jobs), 60.0, "the first tokens", every_s=0.1)
        return jobs

    def _drawn(self) -> dict[str, list[float]]:
        """When the engine drew each token of each job, in seconds."""
        drawn: dict[str, list[float]] = defaultdict(list)
        for line in self._stamps.read_text().splitlines() if self._stamps.exists() else ():
            job, _, nanoseconds = line.partition(" ")
            if nanoseconds:
                drawn[job].append(int(nanoseconds) / 1e9)
        return drawn

    def _found(self, jobs: list[str], answers: list[Heard], window: Window) -> Run:
        since, until = window
        drawn = self._drawn()
        told = [at for job in jobs for at in drawn[job] if since <= at <= until]
        delays = [
            1000 * (heard - at)
            for answer in answers
            for at, heard in zip(drawn[answer.job_id], answer.times, strict=False)  # cancelled: the last are not told
            if since <= at <= until
        ]
        if len(delays) < 0.9 * len(told):
            raise Trouble(f"of {len(told)} tokens the talkers heard {len(delays)}")
        return Run(len(told) / (until - since), delays)


def measure(bench: Bench) -> Table:
    rounds = bench.pick(3, 2)
    load = machine.load()
    stamps = bench.folder / "stamps"
    with Peer("benchmarks.in_process", folder=bench.folder, env=clean_environment()) as maker:
        model = make_model(maker, bench.folder)
    with House(bench.folder / "house", STAMPS=str(stamps), **house_settings(model, bench.threads)) as house:
        house.start("web", "background", "beat")
        house.start("generate", through="benchmarks.stamped")
        hall = _Hall(bench, house, stamps)
        floor = hall.floor_ms()
        hall.alone(1)
        systems = {
            ONE: lambda: hall.alone(1),
            MANY: lambda: hall.alone(SLOTS),
            CROWD: lambda: hall.crowded(SLOTS),
        }
        found = in_turn(bench, rounds, systems)
        hall.close()
    return _table(bench, found, floor, load)


def _table(bench: Bench, found: dict[str, list[Run]], floor: float, load: float) -> Table:
    kept = [run.kept for run in found[CROWD]]
    each_us = [1e6 * run.web_s / run.heard for run in found[CROWD]]
    delivered = [run.heard * SLOTS / LISTENERS / len(run.delays_ms) for run in found[CROWD]]
    rows = []
    for name, runs in found.items():
        tails = [[percentile(run.delays_ms, percent) for run in runs] for percent in (50, 95, 99)]
        middle = statistics.median(tails[0])
        aim = at_least(statistics.median(kept), AIM_RATE, "×") if name == CROWD else below(middle, AIM_MS, " ms")
        rates = spread([run.rate for run in runs])
        against = f"{spread(kept)}×" if name == CROWD else ""
        rows.append((name, rates, against, *map(spread, tails), f"{middle / floor:.1f}×", aim))
    return Table(
        "Streaming",
        f"Redis, web, generate, background worker and beat; a model of random weights in the shape of SmolLM2-135M "
        f"(Q8_0), {bench.threads} thread{'s' if bench.threads > 1 else ''}, {SLOTS} slots. From the end of the decode "
        f"that a token comes from to its server-sent event at a listener in another process, on one clock; the p50 "
        f"ratio is to a round trip to /health ({number(floor)} ms). The {LISTENERS} listeners are spread over the "
        f"running answers, all on one web process; the rate ratio is to the same answers before they come and after "
        f"they leave. Median of {len(kept)} rounds in turn (lowest–highest). Load average before: {load:.2f}.",
        ("", "engine tokens/s", "rate ratio", "token → event p50 ms", "p95", "p99", "p50 ratio", "aim"),
        rows,
        notes=[
            f"Of the events due to the {LISTENERS} listeners in the measured time {spread(delivered)} of all arrived; "
            f"each cost the web process {spread(each_us)} µs of processor time."
        ],
        data={"runs": {name: [asdict(run) for run in runs] for name, runs in found.items()}, "floor_ms": floor},
    )
