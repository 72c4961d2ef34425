"""Loading, switching and leaving with many threads; the models are of air, their loader counts."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from config.errors import ModelUnavailable, Unavailable
from tests.servers import wait_until
from workers import residents as module
from workers.residents import Residents
from workers.roster import Resident, Size


class Air:
    def __init__(self, loader: AirLoader, name: str, size: int) -> None:
        self.name, self.size, self.running, self.users = name, size, True, 0
        self._loader = loader

    def close(self) -> None:
        assert not self.users, "closed under somebody's hands"
        self._loader.gone(self)


class AirLoader:
    """Every model takes 10 bytes, `large` ones 20, of `budget`."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.loaded: list[str] = []  # in order, repeated
        self.measured: Counter[str] = Counter()
        self.caches: list[int] = []
        self.most = 0
        self.broken: dict[str, str] = {}
        self.failing = 0  # so many loads fail although nothing is wrong with the file
        self.stamps: dict[str, int] = {}
        self.gate = threading.Event()  # loads wait here
        self.gate.set()
        self._here: list[Air] = []
        self._lock = threading.Lock()
        self._loading = 0

    def stamp(self, name: str) -> Hashable:
        return self.stamps.get(name, 0)

    def measure(self, name: str) -> Size:
        self.measured[name] += 1
        if name in self.broken:
            raise ModelUnavailable(self.broken[name])
        return Size(5, 15, 5) if name == "large" else Size(5, 5, 5)

    def free(self, residents: Sequence[Resident[Air]]) -> int:
        return self.budget - sum(resident.held for resident in residents)

    def load(self, name: str, cache_bytes: int, progress: Callable[[float], bool]) -> Air:
        with self._lock:
            self._loading += 1
            assert self._loading == 1, "one load at a time"
        try:
            going_on = progress(0.5)
            while going_on and not self.gate.wait(0.01):
                going_on = progress(0.5)
            if not going_on:
                raise ModelUnavailable("Loading was ended.")
            if self.failing:
                self.failing -= 1
                raise ModelUnavailable("There was not enough memory.")
            model = Air(self, name, 5 + cache_bytes)
            with self._lock:
                self._here.append(model)
                self.loaded.append(name)
                self.caches.append(cache_bytes)
                self.most = max(self.most, sum(one.size for one in self._here))
            return model
        finally:
            with self._lock:
                self._loading -= 1

    def is_running(self, model: Air) -> bool:
        return model.running

    def facts(self, model: Air) -> dict[str, object]:
        return {"context_tokens": 512}

    def gone(self, model: Air) -> None:
        with self._lock:
            self._here.remove(model)

    def names(self) -> list[str]:
        with self._lock:
            return sorted(model.name for model in self._here)


class Caller:
    """Somebody in a thread, who has a model until told to leave it."""

    def __init__(self, pool: ThreadPoolExecutor, residents: Residents[Air], name: str) -> None:
        self.name = name
        self.has, self.leave = threading.Event(), threading.Event()
        self.told: list[tuple[str, float | None]] = []
        self.model: Air | None = None
        self.done: Future[None] = pool.submit(self._run, residents)

    def _run(self, residents: Residents[Air]) -> None:
        with residents.use(self.name, lambda *told: self.told.append(told)) as self.model:
            self.has.set()
            assert self.leave.wait(20)

    def go(self) -> None:
        self.leave.set()
        self.done.result(20)

    def wait(self) -> None:
        assert self.has.wait(20), self.name

    def wait_to_be_told(self, reason: str) -> None:
        wait_until(lambda: any(told[0] == reason for told in self.told), what=f"{self.name} is told {reason}")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as pool:
        yield pool


@pytest.fixture
def made() -> Iterator[Callable[[int], tuple[AirLoader, Residents[Air]]]]:
    with ExitStack() as stack:

        def make(budget: int) -> tuple[AirLoader, Residents[Air]]:
            loader = AirLoader(budget)
            residents = Residents(loader, poll_s=0.005)
            stack.callback(residents.close)
            return loader, residents

        yield make


Made = Callable[[int], tuple[AirLoader, Residents[Air]]]


def use(residents: Residents[Air], name: str) -> Air:
    with residents.use(name) as model:
        return model


def test_many_who_ask_at_once_share_one_load(made: Made, pool: ThreadPoolExecutor) -> None:
    loader, residents = made(20)
    loader.gate.clear()
    callers = [Caller(pool, residents, "a") for _ in range(8)]
    for caller in callers:
        caller.wait_to_be_told("loading_model")
    loader.gate.set()
    for caller in callers:
        caller.wait()
    assert len({id(caller.model) for caller in callers}) == 1
    assert loader.loaded == ["a"]
    for caller in callers:
        caller.go()


def test_progress_is_told_to_who_waits_and_to_who_watches(made: Made, pool: ThreadPoolExecutor) -> None:
    loader, residents = made(20)
    loader.gate.clear()
    caller = Caller(pool, residents, "a")
    wait_until(lambda: ("loading_model", 0.5) in caller.told, what="progress")
    assert residents.states() == [{"name": "a", "state": "loading", "progress": 0.5}]
    loader.gate.set()
    caller.wait()
    assert residents.states() == [{"name": "a", "state": "ready", "users": 1, "memory_mb": 0, "context_tokens": 512}]
    caller.go()


def test_two_that_fit_stay_both(made: Made) -> None:
    loader, residents = made(20)
    for name in "abab":
        use(residents, name)
    assert loader.loaded == ["a", "b"]
    assert loader.names() == ["a", "b"]


def test_a_switch_waits_for_answers_and_who_comes_later_waits_for_the_switch(
    made: Made, pool: ThreadPoolExecutor
) -> None:
    loader, residents = made(10)
    running = Caller(pool, residents, "a")
    running.wait()
    newcomer = Caller(pool, residents, "b")
    newcomer.wait_to_be_told("switching_model")
    wait_until(lambda: residents.states()[0]["state"] == "leaving", what="a is told to leave")
    late = Caller(pool, residents, "a")
    late.wait_to_be_told("switching_model")
    assert loader.loaded == ["a"]
    assert not newcomer.has.is_set()
    assert not late.has.is_set()
    running.go()
    newcomer.wait()
    assert loader.names() == ["b"]
    assert not late.has.is_set()
    newcomer.go()
    late.wait()
    late.go()
    assert loader.loaded == ["a", "b", "a"]


def test_a_stream_of_users_cannot_keep_another_model_out(made: Made, pool: ThreadPoolExecutor) -> None:
    _, residents = made(10)
    stop = threading.Event()

    def keep_busy() -> int:
        uses = 0
        while not stop.is_set():
            with residents.use("a"):
                uses += 1
                stop.wait(0.001)
        return uses

    busy = [pool.submit(keep_busy) for _ in range(4)]
    for _ in range(5):
        assert use(residents, "b").name == "b"
    stop.set()
    assert all(one.result(20) > 0 for one in busy)


def test_who_gives_up_waiting_leaves_nothing_behind(made: Made, pool: ThreadPoolExecutor) -> None:
    loader, residents = made(10)
    running = Caller(pool, residents, "a")
    running.wait()

    def cancelled(reason: str, _progress: float | None) -> None:
        if any(state["state"] == "leaving" for state in residents.states()):
            raise InterruptedError(reason)

    with pytest.raises(InterruptedError), residents.use("b", cancelled):
        pytest.fail("it was not to be had")
    late = Caller(pool, residents, "a")  # which need not leave any longer
    late.wait()
    late.go()
    running.go()
    wait_until(lambda: residents._thread is None, what="nobody waits, so nobody loads")
    assert loader.loaded == ["a"]
    assert residents._roster.queue == []
    assert residents._roster.residents["a"].users == 0


def test_a_model_nobody_waits_for_any_longer_is_kept_for_the_next(made: Made) -> None:
    loader, residents = made(10)
    loader.gate.clear()

    def cancelled(_reason: str, progress: float | None) -> None:
        if progress is not None:
            raise InterruptedError

    with pytest.raises(InterruptedError), residents.use("a", cancelled):
        pytest.fail("it was not to be had")
    loader.gate.set()
    assert use(residents, "a").name == "a"
    assert loader.loaded == ["a"]


def test_a_broken_file_sends_nobody_away_and_is_not_read_for_every_chat(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader, residents = made(10)
    use(residents, "a")
    loader.broken["b"] = "The model b is broken."
    for _ in range(3):
        with pytest.raises(ModelUnavailable, match="The model b is broken"):
            use(residents, "b")
    assert loader.measured["b"] == 1
    assert loader.names() == ["a"]
    assert str(residents.failure("b")) == "The model b is broken."
    del loader.broken["b"]
    monkeypatch.setattr(module, "LOAD_PAUSE_S", 0.0)
    assert use(residents, "b").name == "b"
    assert residents.failure("b") is None


def test_an_error_of_ours_is_a_sentence_too(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    loader, residents = made(10)
    monkeypatch.setattr(loader, "measure", lambda name: {}[name])
    with pytest.raises(ModelUnavailable, match="cannot be loaded; the log has the details"):
        use(residents, "a")


def test_a_load_that_fails_is_tried_again_without_the_idle_ones(made: Made) -> None:
    loader, residents = made(100)
    use(residents, "a")
    loader.failing = 1
    assert use(residents, "b").name == "b"
    assert loader.names() == ["b"]
    loader.failing = 2
    with pytest.raises(ModelUnavailable, match="not enough memory"):
        use(residents, "c")
    assert loader.names() == []


def test_a_cache_is_cut_to_the_memory_there_is(made: Made) -> None:
    loader, residents = made(12)
    use(residents, "large")
    assert loader.caches == [7]
    assert loader.most == 12


def test_a_model_larger_than_the_budget_is_refused(made: Made) -> None:
    _, residents = made(9)
    with pytest.raises(ModelUnavailable, match="memory"):
        use(residents, "a")


def test_an_engine_that_gave_up_is_replaced(made: Made) -> None:
    loader, residents = made(10)
    first = use(residents, "a")
    first.running = False
    assert use(residents, "a") is not first
    assert loader.names() == ["a"]


def test_a_changed_file_is_loaded_again_once_nobody_uses_the_old(made: Made, pool: ThreadPoolExecutor) -> None:
    loader, residents = made(100)
    running = Caller(pool, residents, "a")
    running.wait()
    loader.stamps["a"] = 1
    assert use(residents, "a") is running.model
    running.go()
    assert use(residents, "a") is not running.model
    assert loader.names() == ["a"]


def test_closing_ends_a_load_and_tells_who_waits_to_come_again(made: Made, pool: ThreadPoolExecutor) -> None:
    loader, residents = made(20)
    use(residents, "a")
    loader.gate.clear()
    caller = Caller(pool, residents, "b")
    wait_until(lambda: ("loading_model", 0.5) in caller.told, what="the load")
    residents.close()
    with pytest.raises(Unavailable, match="stopping") as caught:
        caller.done.result(20)
    assert not isinstance(caught.value, ModelUnavailable)
    assert loader.names() == []
    with pytest.raises(Unavailable, match="stopping"):
        use(residents, "a")


@pytest.mark.parametrize("budget", [10, 20, 30])
@pytest.mark.parametrize("seed", range(3))
def test_whatever_many_want_all_are_served_within_the_budget(
    made: Made, pool: ThreadPoolExecutor, budget: int, seed: int
) -> None:
    loader, residents = made(budget)
    counting = threading.Lock()

    def caller(number: int) -> int:
        chance = random.Random(1000 * seed + number)
        served = 0

        def impatient(_reason: str, _progress: float | None) -> None:
            if chance.random() < 0.2:
                raise InterruptedError

        for _ in range(15):
            try:
                with residents.use(chance.choice("aaabcd"), impatient) as model:
                    with counting:
                        model.users += 1
                    threading.Event().wait(chance.choice([0, 0, 0.001]))
                    if chance.random() < 0.02:
                        model.running = False  # its engine gives up
                    with counting:
                        model.users -= 1
                    served += 1
            except InterruptedError:
                served += 1
        return served

    callers = [pool.submit(caller, number) for number in range(16)]
    assert [one.result(60) for one in callers] == [15] * 16
    assert loader.most <= budget
    wait_until(lambda: residents._thread is None, what="nobody waits")
    assert residents._roster.queue == []
    assert all(not one.users for one in residents._roster.residents.values())
