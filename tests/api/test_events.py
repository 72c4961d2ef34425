"""A job's events over HTTP, by a real server: replay, then live, to the end."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import httpx
import pytest
import redis

from config.queues import Kind
from storage import listeners
from storage.events import FIRST, EventLog, NewEvent
from tests import factories
from tests.api.conftest import Listen, Listening
from tests.api.helpers import Json, fail, problem, work
from tests.servers import wait_until

Meanwhile = Callable[..., Future[Any]]
Lines = Iterator[str]


def events(text: str) -> list[Json]:
    """The events of a stream; every one must be well formed."""
    found = []
    for block in text.split("\n\n")[:-1]:
        if block.startswith(("retry: ", ": ")):
            continue
        head, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert head == f"id: {event['sequence_number']}"
        assert event.keys() >= {"type", "job_id", "sequence_number"}
        found.append(event)
    return found


def listened(live: Listening, job_id: str, after: int | None = None, **headers: str) -> list[Json]:
    """Everything until the stream closes by itself."""
    params = {} if after is None else {"after": after}
    response = live.client.get(f"/api/jobs/{job_id}/events", params=params, headers=headers)
    assert response.status_code == 200
    return events(response.text)


def brief(found: list[Json]) -> list[tuple[int, str]]:
    return [(event["sequence_number"], event["type"]) for event in found]


def say(job_id: str, *words: str) -> None:
    """A running job's first events: started, then these words."""
    new = [
        NewEvent({"type": "started", "attempt": 1}),
        *[NewEvent({"type": "content", "content": word}) for word in words],
    ]
    log().append(job_id, 1, new, floor=1, mode=FIRST)


def log() -> EventLog:
    from config.settings import get_settings

    return EventLog(redis.Redis.from_url(get_settings().redis))


def test_a_finished_job_is_replayed_and_closed(live: Listening) -> None:
    job_id = factories.job(input={"echo": "é\n\n\u2028"})
    work(job_id)
    response = live.client.get(f"/api/jobs/{job_id}/events")
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    assert response.text.startswith("retry: ")
    found = events(response.text)
    assert brief(found) == [(1, "queued"), (2, "started"), (3, "done")]
    assert {event["job_id"] for event in found} == {job_id}
    assert found[-1]["response"] == {"echo": "é\n\n\u2028"}


def test_a_listener_hears_the_job_live(live: Listening, meanwhile: Meanwhile) -> None:
    job_id = factories.job(Kind.CHAT, input={"message_id": factories.question(factories.conversation()).id})
    hearing = meanwhile(listened, live, job_id)
    wait_until(lambda: live.hub.listeners == 1)
    work(job_id)
    found = hearing.result(20)
    assert [number for number, _ in brief(found)] == list(range(1, len(found) + 1))
    assert (found[0]["type"], found[1]["type"], found[-1]["type"]) == ("queued", "started", "done")
    said = "".join(event["content"] for event in found if event["type"] == "content")
    assert said == found[-1]["response"]["content"]
    wait_until(lambda: live.hub.listeners == 0)


def test_a_listener_goes_on_where_it_was(live: Listening) -> None:
    job_id = factories.job()
    work(job_id)
    everything = listened(live, job_id)
    for last in range(1, 4):
        assert listened(live, job_id, after=last) == everything[last:]
        assert listened(live, job_id, **{"last-event-id": str(last)}) == everything[last:]
    assert listened(live, job_id, after=0, **{"last-event-id": "2"}) == everything  # what is asked in words counts
    assert listened(live, job_id, **{"last-event-id": ""}) == everything
    for beyond in (4, 10**9, 2**63, 2**200):
        assert listened(live, job_id, after=beyond) == []


def test_rubbish_as_last_event_id_is_422(live: Listening) -> None:
    job_id = factories.job()
    for rubbish in ("x", "-1", "1.5", "1 2", "0x10", "9" * 16):
        problem(live.client.get(f"/api/jobs/{job_id}/events", headers={"last-event-id": rubbish}), 422)
    problem(live.client.get(f"/api/jobs/{job_id}/events", headers={b"last-event-id": "²".encode("latin-1")}), 422)  # type: ignore[arg-type]
    for rubbish in ("x", "-1", "1.5"):
        problem(live.client.get(f"/api/jobs/{job_id}/events?after={rubbish}"), 422)


@pytest.mark.parametrize("end", ["cancelled", "error"])
def test_other_ends_close_the_stream_too(live: Listening, meanwhile: Meanwhile, end: str) -> None:
    job_id = factories.job()
    hearing = meanwhile(listened, live, job_id)
    wait_until(lambda: live.hub.listeners == 1)
    if end == "cancelled":
        live.client.post(f"/api/jobs/{job_id}/cancel")
    else:
        fail(job_id)
    last = hearing.result(20)[-1]
    assert last["type"] == end
    if end == "error":
        assert (last["code"], last["message"], last["retryable"]) == ("boom", "It broke.", False)


def test_without_its_log_a_job_still_tells_its_end(live: Listening, clean_redis: str) -> None:
    job_id = factories.job(input={"echo": 1})
    work(job_id)
    redis.Redis.from_url(clean_redis).flushall()
    assert brief(listened(live, job_id))[-1][1] == "done"


def test_a_retried_job_is_heard_to_its_new_end(live: Listening) -> None:
    job_id = factories.job()
    live.client.post(f"/api/jobs/{job_id}/cancel")
    live.client.post(f"/api/jobs/{job_id}/retry")
    work(job_id)
    found = listened(live, job_id)
    assert [number for number, _ in brief(found)] == list(range(1, len(found) + 1))
    assert found[-1]["type"] == "done"
    assert "cancelled" not in [event["type"] for event in found[:-1]]


def test_a_silent_stream_says_that_it_is_there(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "RECHECK_S", 0.05)
    live = listen(SSE_HEARTBEAT_S="0.1")
    with live.client.stream("GET", f"/api/jobs/{factories.job()}/events") as response:
        comments = (line for line in response.iter_lines() if line.startswith(":"))
        assert next(comments) == ": still here"
        assert next(comments) == ": still here"
    wait_until(lambda: live.hub.listeners == 0, what="the server to notice that the listener has gone")


def test_many_listen_over_one_connection(live: Listening, meanwhile: Meanwhile) -> None:
    job_id = factories.running(Kind.CHAT).id
    say(job_id, "one ", "two")
    ready = threading.Barrier(4)

    def hear() -> list[Json]:
        with httpx.stream(
            "GET", f"{live.client.base_url}/api/jobs/{job_id}/events", trust_env=False, timeout=30
        ) as response:
            ready.wait(20)
            return events("".join(response.iter_text()))

    hearing = [meanwhile(hear) for _ in range(4)]
    wait_until(lambda: live.hub.listeners == 4)
    assert live.client.get("/api/status").json()["server"]["listeners"] == 4
    factories.finish(job_id, 1, "succeeded", event_seq=5, result={"content": "one two"})
    log().append(job_id, 1, [NewEvent({"type": "done", "response": {"content": "one two"}})], floor=4)
    for heard in hearing:
        assert brief(heard.result(20)) == [(1, "queued"), (2, "started"), (3, "content"), (4, "content"), (5, "done")]


def test_a_slow_reader_misses_nothing(live: Listening) -> None:
    job_id = factories.running(Kind.CHAT).id
    words = [f"{number} " for number in range(3000)]
    say(job_id, *words)
    with live.client.stream("GET", f"/api/jobs/{job_id}/events") as response:
        text = response.iter_text()
        heard = next(text)
        last = len(words) + 2
        factories.finish(job_id, 1, "succeeded", event_seq=last + 1, result={})
        log().append(job_id, 1, [NewEvent({"type": "done", "response": {}})], floor=last)
        found = events(heard + "".join(text))
    assert [number for number, _ in brief(found)] == list(range(1, last + 2))
    assert "".join(event["content"] for event in found if event["type"] == "content") == "".join(words)
