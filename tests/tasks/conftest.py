"""Tasks called as plain functions: real rows, real Redis, no worker process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from config.queues import Kind
from storage.presence import WorkerPresence
from tasks import all as _all  # noqa: F401 - registers the kinds
from tasks import base, leases
from tasks.leases import Leases
from tasks.run import JobRun, Outcome

Body = Callable[[JobRun], Outcome]


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Leases:
    """The leases of this test's worker; not started, so no heartbeat comes in between."""
    mine = Leases(WorkerPresence(name="test", queues=["noop"], slots=1))
    monkeypatch.setattr(leases, "_leases", mine)
    return mine


@pytest.fixture
def does(monkeypatch: pytest.MonkeyPatch) -> Callable[[Body], None]:
    """Say what jobs of kind noop do in this test."""
    return lambda body: monkeypatch.setitem(base.BODIES, Kind.NOOP, body)
