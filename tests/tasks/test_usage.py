"""What an answer costs is written with it: once, whatever happens to the worker in between."""

from __future__ import annotations

import pytest
from sqlmodel import select

from config.queues import KINDS, WORKERS
from storage import usage
from storage.account_tables import TokenUsage
from storage.database import reading
from storage.tables import LOCAL_OWNER
from tasks.base import run_job
from tests import factories
from tests.tasks.test_chats import WORDS, Scripted, ask, model

pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")
__all__ = ["model"]


def used() -> list[tuple[str, int, int, int]]:
    with reading() as session:
        rows = session.exec(select(TokenUsage)).all()
        return [(row.user_id, row.answers, row.prompt_tokens, row.completion_tokens) for row in rows]


def test_an_answer_is_counted(model: Scripted) -> None:
    for count in (1, 2):
        job_id, _ = ask(f"Question {count}")
        run_job(job_id)
        assert used() == [(LOCAL_OWNER, count, 10 * count, len(WORDS) * count)]


def test_an_answer_from_the_cache_is_counted_and_costs_nothing(model: Scripted) -> None:
    for _ in range(2):
        job_id, _ = ask(temperature=0)
        run_job(job_id)
    assert len(model.requests) == 1
    assert used() == [(LOCAL_OWNER, 2, 10, len(WORDS))]


def test_a_second_delivery_costs_nothing(model: Scripted) -> None:
    job_id, _ = ask()
    run_job(job_id)
    run_job(job_id)
    assert [row[1] for row in used()] == [1]


def test_a_worker_that_lost_its_job_counts_nothing(model: Scripted) -> None:
    job_id, _ = ask()

    def lose() -> None:
        factories.change(job_id, attempt=2)

    model.before[3] = lose
    run_job(job_id)
    assert used() == []


def test_what_a_model_does_costs() -> None:
    generated = {kind for kind, spec in KINDS.items() if spec.queue in WORKERS["generate"]}
    assert set(usage.COSTING) == generated
