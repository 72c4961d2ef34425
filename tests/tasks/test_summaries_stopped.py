"""A summary that is stopped in the middle goes on behind what is there."""

from __future__ import annotations

import pytest
import redis

from config.errors import ModelUnavailable
from storage import summaries
from storage.database import reading
from tasks.base import bury_or_put_back, run_job
from tasks.leases import Leases
from tests import factories
from tests.tasks.summarising import (
    ask,
    events,
    model,
    parts,
    result_of,
    say,
    stored,
    talk,
    texts,
)
from tests.tasks.test_chats import Killed, kill
from tests.workers.summaries.scripted import Scripted

__all__ = ["model"]
pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")


@pytest.mark.parametrize("number", [1, 2, 7, 16])
def test_a_killed_worker_is_followed_by_one_that_goes_on_behind_its_parts(
    model: Scripted, clean_redis: str, number: int
) -> None:
    conversation = talk()
    job_id = ask(conversation)
    model.before = lambda at: kill() if at == number else None
    with pytest.raises(Killed):
        run_job(job_id)
    written = parts(conversation)
    assert len(written) == (number - 1) // 2 * 2
    model.requests.clear()
    model.before = lambda _: None
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    result = result_of(job_id)
    assert result["parts"]["reused"] >= len(written)
    assert len(model.requests) == result["parts"]["made"] + 1
    assert len(parts(conversation)) == sum(result["parts"].values())
    found = events(clean_redis, job_id)
    assert [event["sequence_number"] for event in found] == list(range(2, len(found) + 2))


@pytest.mark.parametrize("word", [0, 1, 2])
def test_a_text_begun_is_gone_on_with(model: Scripted, clean_redis: str, word: int) -> None:
    conversation = talk(4)
    job_id = ask(conversation)
    left = iter(range(word + 1))
    model.between = lambda: kill() if next(left) == word else None
    with pytest.raises(Killed):
        run_job(job_id)
    say(conversation)
    model.between = lambda: None
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    assert model.requests[1].resume_tokens == tuple(range(word))
    assert "".join(texts(events(clean_redis, job_id), "content", "content")) == stored(conversation).text
    assert stored(conversation).content_version == (1 if word else 2), "it speaks of what it was begun from"


def test_a_worker_that_stops_hands_it_over(model: Scripted, held: Leases) -> None:
    conversation = talk()
    job_id = ask(conversation)
    model.before = lambda at: held.stopping.set() if at == 5 else None
    run_job(job_id)
    assert (factories.load(job_id).status, factories.load(job_id).failures) == ("queued", 0)
    assert len(parts(conversation)) == 4
    held.stopping.clear()
    model.before = lambda _: None
    run_job(job_id)
    assert result_of(job_id)["parts"]["reused"] >= 4


def test_a_cancel_is_effective_before_the_next_token(model: Scripted, held: Leases) -> None:
    conversation = talk()
    job_id = ask(conversation)
    model.before = lambda at: held._cancel(job_id) if at == 5 else None
    run_job(job_id)
    assert factories.load(job_id).status == "cancelled"
    assert len(model.requests) <= 6
    assert len(parts(conversation)) == 4
    with reading() as session:
        assert summaries.find(session, conversation) is None


def test_an_emptied_redis_in_the_middle(model: Scripted, clean_redis: str) -> None:
    conversation = talk(4)
    job_id = ask(conversation)
    words = iter([None, lambda: redis.Redis.from_url(clean_redis).flushall()])
    model.between = lambda: (next(words, None) or (lambda: None))() and None
    run_job(job_id)
    found = events(clean_redis, job_id)
    assert found[0]["type"] == "reset"
    assert "".join(texts(found, "content", "content")) == stored(conversation).text


def test_an_overtaken_worker_writes_nothing(model: Scripted) -> None:
    conversation = talk(4)
    job_id = ask(conversation)

    def overtaken(number: int) -> None:
        if number == 1:
            bury_or_put_back(factories.load(job_id))
            model.says = lambda _request: "The second one's."
            run_job(job_id)

    model.before = overtaken
    run_job(job_id)
    assert factories.load(job_id).attempt == 2
    assert stored(conversation).text == "The second one's."


def test_a_model_that_is_not_there_yet_is_waited_for(model: Scripted) -> None:
    def away(_number: int) -> None:
        raise ModelUnavailable("The model is still loading.")

    job_id = ask(talk(4))
    model.before = away
    run_job(job_id)
    assert factories.load(job_id).status == "queued"
    model.before = lambda _: None
    factories.change(job_id, run_after=None)
    run_job(job_id)
    result_of(job_id)
