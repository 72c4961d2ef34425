"""Tasks called as plain functions: real rows, real Redis, no worker process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from config.queues import Kind
from config.settings import reset_settings
from storage.ids import new_id
from storage.presence import WorkerPresence
from tasks import all as _all  # noqa: F401 - registers the kinds
from tasks import base, leases
from tasks.leases import Leases
from tasks.run import JobRun, Outcome
from workers import registry
from workers.embedding.hashing import HashingEmbedder

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


@pytest.fixture
def hashing(chroma: str, settings: pytest.MonkeyPatch) -> HashingEmbedder:
    """The embedder without weights, and a vector index of this test's own in a real Chroma."""
    settings.setenv("CHROMA_URL", chroma)
    settings.setenv("EMBEDDING_BACKEND", "hashing")
    reset_settings()
    embedder = HashingEmbedder()
    embedder.name = f"hashing-{new_id()}"
    settings.setattr(registry, "_embedder", embedder)
    return embedder
