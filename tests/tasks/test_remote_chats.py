"""A question that a provider answers: the whole path from the job's row to the stored answer, over real sockets."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from config.queues import Kind
from config.settings import reset_settings
from storage.tables import Message
from tasks.base import bury_or_put_back, run_job
from tasks.leases import Leases
from tests import factories
from tests.servers import wait_until
from tests.standins.openai_server import KEY, OpenAIServer
from tests.standins.server import Reply
from tests.tasks.test_chats import answered, events, said
from workers import registry

pytestmark = pytest.mark.usefixtures("sqlite", "clean_redis")
MODEL = "gpt-4o-mini"


@pytest.fixture
def server(settings: pytest.MonkeyPatch, held: Leases) -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        settings.setenv("OPENAI_API_KEY", KEY)
        settings.setenv("OPENAI_BASE_URL", server.url)
        settings.setenv("PROVIDER_MAX_RETRIES", "1")
        settings.setattr(registry, "_remotes", None)
        reset_settings()
        yield server


def ask(text: str = "What is the answer?") -> tuple[str, Message]:
    conversation_id = factories.conversation()
    question = factories.question(conversation_id, text)
    given = {"message_id": question.id, "use_rag": False, "model": MODEL}
    serial = f"chat:{conversation_id}"
    return factories.job(Kind.CHAT, input=given, conversation_id=conversation_id, serial_key=serial), question


def test_a_cut_in_the_middle_is_not_seen(server: OpenAIServer, clean_redis: str) -> None:
    server.answers(Reply(server.begins("The answer ", "is for"), end="cut"), server.says("ty", " two."))
    job_id, question = ask()
    run_job(job_id)
    job = answered(job_id)
    assert factories.shown(question.conversation_id) == [question.content, "The answer is forty two."]
    assert said(events(clean_redis, job_id)) == "The answer is forty two."
    assert job.attempt == 1
    assert job.result is not None
    assert (job.result["model"], job.result["finish_reason"]) == (MODEL, "stop")


def test_a_dead_workers_answer_is_gone_on_with(
    server: OpenAIServer, clean_redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """kill -9 as far as the job is concerned."""

    from tasks.run import JobRun

    job_id, question = ask()
    content = JobRun.content

    def die(run: JobRun, text: str, *more: object) -> None:
        content(run, text, *more)  # type: ignore[arg-type]
        if "is for" in run.text:
            raise Killed

    server.answers(Reply(server.begins("The answer ", "is for"), end="silent"), server.says("forty", " two."))
    with monkeypatch.context() as patched:
        patched.setattr(JobRun, "content", die)
        with pytest.raises(Killed):
            run_job(job_id)
    wait_until(server.left.is_set, what="the connection to be closed")
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    answered(job_id)
    found = events(clean_redis, job_id)
    assert said(found) == "The answer is forty two."
    assert factories.shown(question.conversation_id) == [question.content, "The answer is forty two."]
    assert [event["sequence_number"] for event in found] == list(range(2, len(found) + 2))
    assert server.texts()[-2] == ("assistant", "The answer is for")


def test_a_provider_that_wants_to_be_left_alone_is(server: OpenAIServer, clean_redis: str) -> None:
    server.answers(server.refused(429, f"Slow down, {KEY}", retry_after="300"), server.says("Forty two."))
    job_id, _ = ask()
    run_job(job_id)
    job = factories.load(job_id)
    assert (job.status, job.failures) == ("queued", 1)
    (retrying,) = [event for event in events(clean_redis, job_id) if event.get("status") == "retrying"]
    assert (retrying["code"], retrying["retry_in_s"]) == ("provider_unavailable", 300)
    assert "Slow down, …" in retrying["message"]
    factories.change(job_id, run_after=None)
    run_job(job_id)
    answered(job_id)


def test_a_wrong_key_ends_the_job_and_is_shown_nowhere(
    server: OpenAIServer, settings: pytest.MonkeyPatch, clean_redis: str
) -> None:
    wrong = "sk-wrong-0123456789"
    settings.setenv("OPENAI_API_KEY", wrong)
    reset_settings()
    job_id, _ = ask()
    run_job(job_id)
    job = factories.load(job_id)
    told = "OpenAI did not accept the key (OPENAI_API_KEY)."
    assert (job.status, job.error) == ("failed", {"code": "provider_refused", "message": told, "retryable": False})
    assert wrong not in str(events(clean_redis, job_id))


def test_a_cancel_hangs_up(server: OpenAIServer, held: Leases, clean_redis: str) -> None:
    server.answers(Reply(server.begins("The answer "), end="silent"))
    job_id, question = ask()

    def cancel() -> None:
        wait_until(server.still.is_set, what="the answer to begin")
        wait_until(lambda: said(events(clean_redis, job_id)), what="its first words")
        held._cancel(job_id)

    canceller = threading.Thread(target=cancel)
    canceller.start()
    run_job(job_id)
    canceller.join()
    assert factories.load(job_id).status == "cancelled"
    assert server.left.wait(2)
    assert factories.shown(question.conversation_id) == [question.content]
