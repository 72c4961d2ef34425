"""A draft becomes a project in Linear once, also when a worker dies between Linear's answer and our commit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from config.queues import Kind
from config.settings import reset_settings
from storage import conversations, drafts, projects
from storage.database import reading, transaction
from storage.tables import LOCAL_OWNER, Conversation
from tasks.base import bury_or_put_back, run_job
from tasks.checkpoints import Checkpoint
from tests import factories
from tests.standins.linear_server import KEY, LinearServer, linear_server, refusal
from tests.tasks.drafting import events, failed, result_of
from tests.tasks.test_chats import Killed, kill

pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")


@pytest.fixture
def server(settings: pytest.MonkeyPatch) -> Iterator[LinearServer]:
    with linear_server() as running:
        settings.setenv("LINEAR_API_URL", running.url)
        settings.setenv("LINEAR_ACCESS_KEY", KEY)
        reset_settings()
        yield running


def ask(conversation_id: str) -> str:
    wanted = {"conversation_id": conversation_id, "title": "Roses", "description": "Plant them."}
    key = drafts.serial_key(conversation_id)
    return factories.job(Kind.PROJECT, input=wanted, conversation_id=conversation_id, serial_key=key)


def row(conversation_id: str) -> Conversation:
    with reading() as session:
        return conversations.get(session, conversation_id, LOCAL_OWNER)


def made(conversation_id: str) -> dict[str, Any]:
    with reading() as session:
        return projects.as_json(projects.get(session, conversation_id))


def creations(server: LinearServer) -> int:
    return sum("projectCreate" in asked["query"] for asked in server.asked)


def test_a_project_is_made_and_the_conversation_locked(server: LinearServer, clean_redis: str) -> None:
    conversation = factories.conversation()
    with transaction() as session:
        talk = drafts.talk_of(session, conversations.get(session, conversation, LOCAL_OWNER, lock=True), LOCAL_OWNER).id
    job_id = ask(conversation)
    run_job(job_id)
    result = result_of(job_id)
    assert result == made(conversation)
    assert (result["linear_project_id"], result["linear_url"]) == ("p1", "https://linear.app/x/project/p1")
    assert (result["title"], result["description"]) == ("Roses", "Plant them.")
    assert row(conversation).is_locked
    assert row(talk).is_locked
    (project,) = server.projects
    assert project["content"] == f"Plant them.\n\n---\n\nbackchannel-{conversation}"
    assert [event["type"] for event in events(clean_redis, job_id)] == ["started", "conversation_locked", "done"]
    assert len(server.asked) == 2, "Linear is asked for the team and for the project, and nothing is looked for"


def test_a_worker_that_dies_behind_linears_answer(server: LinearServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        server.projects.append({"id": f"x{number}", "name": "x", "url": "u", "content": "other"})
    conversation = factories.conversation()
    job_id = ask(conversation)
    with monkeypatch.context() as patch:
        patch.setattr(projects, "add", lambda *_: kill())
        with pytest.raises(Killed):
            run_job(job_id)
    assert len(server.projects) == 4
    assert not row(conversation).is_locked
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    assert len(server.projects) == 4
    assert creations(server) == 1
    assert result_of(job_id)["linear_project_id"] == "p4"
    assert row(conversation).is_locked


def test_a_worker_that_dies_before_linear_hears_of_it(server: LinearServer, monkeypatch: pytest.MonkeyPatch) -> None:
    conversation = factories.conversation()
    job_id = ask(conversation)
    server.replies = [(200, b"", {})]  # never read
    from workers.linear import Linear

    with monkeypatch.context() as patch:
        patch.setattr(Linear, "create", lambda *_: kill())
        with pytest.raises(Killed):
            run_job(job_id)
    server.replies = []
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    assert len(server.projects) == creations(server) == 1
    result_of(job_id)


def test_a_worker_that_dies_behind_the_commit(
    server: LinearServer, monkeypatch: pytest.MonkeyPatch, clean_redis: str
) -> None:
    from tasks import projects as task

    conversation = factories.conversation()
    job_id = ask(conversation)
    with monkeypatch.context() as patch:
        patch.setattr(task, "tell_lock", lambda _run: kill())
        with pytest.raises(Killed):
            run_job(job_id)
    assert row(conversation).is_locked
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    assert creations(server) == 1
    assert result_of(job_id) == made(conversation)
    assert [event["type"] for event in events(clean_redis, job_id)].count("conversation_locked") == 1


def test_another_job_finds_what_a_given_up_one_has_made(server: LinearServer, monkeypatch: pytest.MonkeyPatch) -> None:
    conversation = factories.conversation()
    first = ask(conversation)
    with monkeypatch.context() as patch:
        patch.setattr(projects, "add", lambda *_: kill())
        with pytest.raises(Killed):
            run_job(first)
    factories.change(first, failures=99)
    bury_or_put_back(factories.load(first))
    assert factories.load(first).status == "failed"
    second = ask(conversation)
    run_job(second)
    assert len(server.projects) == 1
    assert result_of(second)["linear_project_id"] == "p1"


def test_linear_away_for_a_while(server: LinearServer) -> None:
    conversation = factories.conversation()
    job_id = ask(conversation)
    server.replies = [refusal("Rate limit exceeded", "RATELIMITED", Retry_After="300")]
    run_job(job_id)
    assert factories.load(job_id).status == "queued"
    factories.change(job_id, run_after=None)
    run_job(job_id)
    result_of(job_id)
    assert len(server.projects) == 1


def test_what_linear_refuses_ends_the_job(server: LinearServer) -> None:
    conversation = factories.conversation()
    job_id = ask(conversation)
    server.replies = [refusal("Not today", "INVALID_INPUT")]
    run_job(job_id)
    assert failed(job_id) == {
        "code": "provider_refused",
        "message": "Linear refused: Not today.",
        "retryable": False,
    }
    assert not row(conversation).is_locked


def test_a_second_project_is_refused(server: LinearServer) -> None:
    conversation = factories.conversation()
    first, second = ask(conversation), ask(conversation)
    run_job(first)
    run_job(second)
    assert failed(second)["code"] == "conflict"
    assert len(server.projects) == 1


def test_a_checkpoint_is_kept_with_what_is_written(server: LinearServer) -> None:
    """`keep` of an attempt that was overtaken changes nothing, not even its own idea."""
    from storage.jobs import LeaseLost
    from tasks.base import event_log
    from tasks.leases import get_leases
    from tasks.run import JobRun

    job_id = factories.job(Kind.NOOP)
    claimed = factories.claim(job_id)
    assert claimed is not None
    kept = Checkpoint(JobRun(claimed, event_log(), get_leases().stopping))
    with kept.keep(a=1):
        pass
    factories.put_back(job_id)
    with pytest.raises(LeaseLost), kept.keep(b=2):
        pass
    assert kept.values == factories.load(job_id).checkpoint == {"a": 1}
