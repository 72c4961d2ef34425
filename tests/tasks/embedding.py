"""Conversations to be embedded, and a worker that is interrupted in it; in a real Chroma."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from config.queues import Kind
from storage import chunks, conversations
from storage.database import reading, transaction
from storage.tables import LOCAL_OWNER
from storage.vectors import VectorIndex
from tasks import embeddings
from tasks.base import run_job
from tasks.embeddings import request_embedding
from tests import factories
from workers.embedding.hashing import HashingEmbedder


def embed(owner_id: str = LOCAL_OWNER) -> dict[str, Any]:
    """One job of kind embed, from asking to its result."""
    with transaction() as session:
        request_embedding(session, owner_id)
    job = factories.all_jobs(Kind.EMBED)[-1]
    run_job(job.id)
    done = factories.load(job.id)
    assert done.status == "succeeded", done.error
    assert done.result is not None
    return done.result


def said(*texts: str, native_id: str = "c", owner_id: str = LOCAL_OWNER) -> str:
    with transaction() as session:
        return conversations.upsert(session, owner_id, *factories.imported(native_id, texts)).conversation_id


def rows() -> int:
    with reading() as session:
        return chunks.count(session)


@pytest.fixture
def index(hashing: HashingEmbedder) -> VectorIndex:
    return VectorIndex(f"{hashing.name}#1")


Interrupt = Callable[[int, Callable[[], None]], None]


@pytest.fixture
def before_batch(hashing: HashingEmbedder, monkeypatch: pytest.MonkeyPatch) -> Interrupt:
    """Call something before that many batches were embedded, once."""
    really = hashing.embed

    def interrupt(count: int, call: Callable[[], None]) -> None:
        seen = [0]

        def interrupted(texts: Sequence[str], *, urgent: bool = False) -> NDArray[np.float32]:
            seen[0] += 1
            if seen[0] == count + 1:
                call()
            return really(texts, urgent=urgent)

        monkeypatch.setattr(hashing, "embed", interrupted)

    return interrupt


class Killed(BaseException):
    """kill -9 as far as the job is concerned."""


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "CHUNKS_PER_SLICE", 4)
    monkeypatch.setattr(embeddings, "CONVERSATIONS_PER_SLICE", 2)


def waiting_job() -> str:
    """Fourteen chunks in seven conversations, and a job that wants them."""
    for number in range(7):
        said(f"question {number}", f"answer {number}", native_id=f"c{number}")
    with transaction() as session:
        request_embedding(session, LOCAL_OWNER)
    (job,) = factories.all_jobs(Kind.EMBED)
    return job.id


def rebuild() -> dict[str, Any]:
    job_id = factories.job(Kind.EMBED, input={"rebuild": True}, serial_key=f"embed:{LOCAL_OWNER}")
    run_job(job_id)
    done = factories.load(job_id)
    assert done.status == "succeeded", done.error
    assert done.result is not None
    return done.result
