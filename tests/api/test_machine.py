"""How busy the machine is: a figure of what happened since the last look, whichever thread asks."""

from __future__ import annotations

import threading

import psutil
import pytest

from api import machine
from tests.servers import wait_until


def test_work_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    times = psutil.cpu_times()
    before = times._replace(**dict.fromkeys(times._fields, 0.0))
    after = before._replace(user=30.0, system=10.0, idle=60.0)
    monkeypatch.setattr(machine, "_times", before)
    monkeypatch.setattr(machine.psutil, "cpu_times", lambda: after)
    assert machine._cpu_percent() == 40.0
    assert machine._cpu_percent() == 0.0  # no time has passed


def test_a_fresh_thread_sees_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine works while somebody spins on it."""
    monkeypatch.setattr(machine, "_EVERY_S", 0.0)
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            sum(range(1000))

    told: list[float] = []
    spinner = threading.Thread(target=spin)
    spinner.start()
    try:

        def busy() -> bool:
            asker = threading.Thread(target=lambda: told.append(machine.load()["cpu_usage"]))
            asker.start()
            asker.join()
            return told[-1] > 0

        wait_until(busy, what="the work to show")
    finally:
        stop.set()
        spinner.join()


def test_it_is_looked_at_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    monkeypatch.setattr(machine, "_seen_at", 0.0)
    monkeypatch.setattr(machine, "_connections", lambda: len(looks) or looks.append(1) or 0)
    monkeypatch.setattr(machine, "_EVERY_S", 60.0)
    assert [machine.load()["connections"] for _ in range(3)] == [0, 0, 0]
    machine.load()["connections"] = 5
    assert machine.load()["connections"] == 0


def test_a_process_that_may_not_ask_counts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        def net_connections(self, _kind: str) -> list[object]:
            raise psutil.AccessDenied

    monkeypatch.setattr(machine, "_me", Silent())
    assert machine._connections() == 0
