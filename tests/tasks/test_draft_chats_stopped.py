"""A talk about a draft that is stopped in the middle goes on there, with each effect once."""

from __future__ import annotations

import pytest

from storage import conversations, drafts, messages
from storage.database import transaction
from storage.tables import LOCAL_OWNER
from tasks import draft_tools
from tasks.base import bury_or_put_back, run_job
from tasks.leases import Leases
from tasks.run import JobRun
from tests import factories
from tests.standins.linear_server import LinearServer
from tests.tasks.draft_talks import ask, calls_of, chat_of, create, drafted, model, update
from tests.tasks.drafting import events, failed, result_of, said, versions
from tests.tasks.scripted_drafts import Scripted
from tests.tasks.test_chats import Killed, kill
from tests.tasks.test_projects import server

__all__ = ["drafted", "model", "server"]
pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")


@pytest.mark.parametrize("request_number", [1, 2])
@pytest.mark.parametrize("place", [0, 7, 14])
def test_a_killed_worker_is_followed_by_one_that_goes_on(
    model: Scripted, drafted: str, clean_redis: str, request_number: int, place: int
) -> None:
    model.answers = [("I will do it now.", [update()]), "It is done, look."]
    job_id = ask(drafted)
    model.before = lambda number, at: kill() if (number, at) == (request_number, place) else None
    with pytest.raises(Killed):
        run_job(job_id)
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    found = events(clean_redis, job_id)
    assert said(found) == result_of(job_id)["content"] == "I will do it now.\n\nIt is done, look."
    assert len(versions()) == 2
    assert [event["type"] for event in found].count("project_updated") == 1
    assert [event["sequence_number"] for event in found] == list(range(2, len(found) + 2))
    assert len(factories.shown(chat_of(drafted))) == 2


@pytest.mark.parametrize("where", ["before the effect", "in the effect", "behind the effect", "at the end"])
def test_an_effect_is_had_once_wherever_the_worker_dies(
    model: Scripted, drafted: str, clean_redis: str, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    model.answers = [("", [update()]), "Done.", "Done."]
    job_id = ask(drafted)
    with monkeypatch.context() as patch:
        if where == "before the effect":
            patch.setattr(draft_tools.Toolbox, "call", lambda *_: kill())
        elif where == "in the effect":
            patch.setattr(drafts, "add_version", lambda *_, **__: kill())
        elif where == "behind the effect":
            patch.setattr(draft_tools.Toolbox, "tell", lambda *_: kill())
        else:
            patch.setattr(JobRun, "end", lambda *_, **__: kill())
        with pytest.raises(Killed):
            run_job(job_id)
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    assert [version.title for version in versions()] == ["Roses", "Fewer roses"]
    assert len(calls_of(job_id)) == 1
    assert [event["type"] for event in events(clean_redis, job_id)].count("project_updated") == 1
    assert len(model.requests[0].tools) == 1
    assert [len(request.messages) for request in model.requests[1:]] == [4] * (len(model.requests) - 1)


@pytest.mark.parametrize("where", ["add", "tell_lock"])
def test_a_project_is_made_once_wherever_the_worker_dies(
    model: Scripted, drafted: str, server: LinearServer, clean_redis: str, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    from storage import projects

    model.answers = [("", [create()]), "Done."]
    job_id = ask(drafted)
    with monkeypatch.context() as patch:
        patch.setattr(projects if where == "add" else draft_tools, where, lambda *_: kill())
        with pytest.raises(Killed):
            run_job(job_id)
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    assert len(server.projects) == 1
    assert result_of(job_id)["project"]["linear_project_id"] == "p1"
    assert [event["type"] for event in events(clean_redis, job_id)].count("conversation_locked") == 1


def test_an_emptied_redis_and_a_dead_worker(model: Scripted, drafted: str, clean_redis: str) -> None:
    import redis

    model.answers = [("I will do it now.", [update()]), "It is done, look."]
    job_id = ask(drafted)
    model.before = lambda number, at: kill() if (number, at) == (2, 7) else None
    with pytest.raises(Killed):
        run_job(job_id)
    redis.Redis.from_url(clean_redis).flushall()
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    found = events(clean_redis, job_id)
    assert said(found) == result_of(job_id)["content"] == "I will do it now.\n\nIt is done, look."
    assert len(versions()) == 2


def test_a_cancel_stops_before_the_next_tool(model: Scripted, drafted: str, held: Leases) -> None:
    model.answers = [("I will.", [update()])]
    job_id = ask(drafted)
    model.before = lambda _number, place: held._cancel(job_id) if place == len("I will.") else None
    run_job(job_id)
    assert factories.load(job_id).status == "cancelled"
    assert len(versions()) == 1


@pytest.mark.parametrize("what", ["question", "conversation"])
def test_what_was_deleted_is_not_answered(model: Scripted, drafted: str, what: str) -> None:
    job_id = ask(drafted)
    with transaction() as session:
        if what == "question":
            messages.clear(session, chat_of(drafted))
        else:
            session.delete(conversations.get(session, drafted, LOCAL_OWNER))
    run_job(job_id)
    assert failed(job_id)["code"] == "conflict"
    assert model.requests == []
