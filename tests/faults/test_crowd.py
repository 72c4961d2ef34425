"""Many talk at once while long work goes on behind them: everybody is heard, the work gives way, nothing is lost."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests import exports
from tests.faults.evidence import assert_rows_sound, finished_answer, follow, job, submit
from tests.running import Json, Running
from tests.servers import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

TALKERS = 30
QUESTIONS = ["Tell me of the sea.", "Where is the house?", "What time is it?", "Who are the people?", "Why?"]
ANSWER = 400


def long_import(system: Running) -> str:
    """A conversation of nearly twenty thousand tokens; its id."""
    turns = [
        ("user" if at % 2 == 0 else "assistant", f"Part {at}. " + "The house by the sea. " * 60) for at in range(70)
    ]
    export = exports.chatgpt_json([exports.chatgpt_conversation("long", "A long one", turns)])
    sent = httpx.post(
        f"{system.url}/api/imports", files={"file": ("conversations.json", export)}, trust_env=False, timeout=30
    )
    job_id = sent.raise_for_status().json()["id"]
    follow(system.url, job_id)
    items = httpx.get(f"{system.url}/api/imports/{job_id}/items", trust_env=False, timeout=30).raise_for_status().json()
    return str(items["items"][0]["conversation_id"])


def chat(system: Running, message: str, max_tokens: int) -> str:
    session = (
        httpx.post(f"{system.url}/api/sessions", trust_env=False, timeout=30).raise_for_status().json()["session_id"]
    )
    given = {"message": message, "session_id": session, "use_rag": False, "temperature": 0, "max_tokens": max_tokens}
    return submit(system.url, "chat", input=given)


def waiting_in_the_model(system: Running) -> list[Json]:
    params = {"status": "running", "kind": "chat"}
    jobs = (
        httpx.get(f"{system.url}/api/jobs", params=params, trust_env=False, timeout=30)
        .raise_for_status()
        .json()["jobs"]
    )
    return [one for one in jobs if one["blocked_by"] == "waiting for a free slot of the model"]


def test_thirty_talk_while_long_work_goes_on_and_the_worker_dies(system: Running) -> None:
    undisturbed = {text: follow(system.url, chat(system, text, ANSWER)).text for text in QUESTIONS}
    work = submit(system.url, "summarize", input={"conversation_id": long_import(system)})
    work_seen = follow(system.url, work, stop=lambda seen: "item" in seen.types)
    asked = [QUESTIONS[number % len(QUESTIONS)] for number in range(TALKERS)]
    with ThreadPoolExecutor(TALKERS + 1) as listeners:
        paused = system.kill("generate", signal.SIGSTOP)  # so that all of them are there at once
        try:
            unwanted = chat(system, "Never mind.", 3000)
            job_ids = [chat(system, text, ANSWER) for text in asked]
        finally:
            os.kill(paused, signal.SIGCONT)
        wait_until(lambda: waiting_in_the_model(system), what="the worker to tell who waits")
        dropped = follow(system.url, unwanted, stop=lambda seen: seen.types.count("content") >= 10)
        httpx.post(f"{system.url}/api/jobs/{unwanted}/cancel", trust_env=False, timeout=30).raise_for_status()
        heard = [listeners.submit(follow, system.url, job_id) for job_id in job_ids]
        work_heard = listeners.submit(follow, system.url, work, work_seen)
        follow(system.url, unwanted, dropped)
        wait_until(lambda: sum(one.done() for one in heard) >= 5, what="the first answers")
        assert not work_heard.done()
        system.kill("generate")
        for text, job_id, listener in zip(asked, job_ids, heard, strict=True):
            assert finished_answer(system.url, job_id, listener.result()) == undisturbed[text]
        work_heard.result().assert_sound()

    dropped.assert_sound()
    assert dropped.types[-1] == "cancelled"
    jobs = [job(system.url, job_id) for job_id in job_ids]
    assert {one["attempt"] for one in jobs} == {1, 2}, "some had their answer before the worker died, some after"
    summary = job(system.url, work)
    assert (summary["status"], summary["result"]["summary"]) == ("succeeded", work_heard.result().text)
    assert summary["finished_at"] > max(one["finished_at"] for one in jobs), "it gave way to all of them"
    assert_rows_sound(system.data_dir)


def test_limits_end_an_answer_and_nothing_else(system: Running) -> None:
    def ask(**options: object) -> httpx.Response:
        body = {"message": "Hello", "use_rag": False, "temperature": 0, "max_tokens": 3500} | options
        return httpx.post(f"{system.url}/api/chat", json=body, trust_env=False, timeout=60)

    late = ask(deadline_s=0.5)
    assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
    failed = job(system.url, late.headers["location"].rsplit("/", 1)[1])
    assert (failed["status"], failed["error"]["retryable"]) == ("failed", False)
    endless = ask(message="the house " * 5000)
    assert (endless.status_code, endless.json()["code"]) == (422, "prompt_too_long")
    assert "4096" in endless.json()["detail"]
    assert ask(max_tokens=5).json()["metadata"]["tokens"] == 5
    assert_rows_sound(system.data_dir)
