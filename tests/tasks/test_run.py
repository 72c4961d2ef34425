"""One attempt's reporting: events that wait while Redis is away, a log that was lost, an answer that goes on."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
import redis

from config.queues import Kind
from storage.events import Event, EventLog, stream_key
from storage.jobs import LeaseLost
from tasks.run import Cancelled, Interrupted, JobRun
from tests import factories, servers

pytestmark = pytest.mark.usefixtures("sqlite")
Attempt = Callable[[], JobRun]


@pytest.fixture
def client(clean_redis: str) -> redis.Redis:
    return redis.Redis.from_url(clean_redis)


@pytest.fixture
def attempt(client: redis.Redis) -> Attempt:
    """Claims the same job again and again, as its next attempt."""
    return _attempts(EventLog(client))


def _attempts(log: EventLog) -> Attempt:
    job_id = factories.job(Kind.CHAT)

    def start() -> JobRun:
        row = factories.claim(job_id)
        assert row is not None
        run = JobRun(row, log, threading.Event())
        run.emit("started", attempt=run.attempt)
        run.restore_text()
        return run

    return start


def heard(run: JobRun) -> list[Event]:
    return EventLog(run._log._redis).read(run.id)


def said(events: list[Event]) -> str:
    """The text a listener has at the end."""
    text = ""
    for event in events:
        if event.type == "reset":
            text = ""
        elif event.type == "content":
            text += orjson.loads(event.json)["content"]
    return text


def types(events: list[Event]) -> list[str]:
    return [event.type for event in events]


# --- what a task reports


def test_events_are_numbered_from_two(attempt: Attempt) -> None:
    run = attempt()
    run.content("Hello", (1, 2))
    run.progress(1, 2, "items", "counting")
    assert [(event.seq, event.type) for event in heard(run)] == [(2, "started"), (3, "content"), (4, "progress")]
    assert run.event_seq == 4
    assert run.progress_now == {"done": 1, "total": 2, "unit": "items"}
    assert run.first_output_at is not None


def test_a_new_attempt_goes_on_where_the_last_one_stopped(attempt: Attempt) -> None:
    first = attempt()
    first.content("Hello, ", (1,))
    first.content("wor", (2, 3))
    factories.put_back(first.id, event_seq=2)  # the last heartbeat knew less than the log
    second = attempt()
    assert (second.text, second.resume_tokens) == ("Hello, wor", [1, 2, 3])
    second.content("ld", (4,))
    events = heard(second)
    assert [event.seq for event in events] == list(range(2, 7))
    assert types(events) == ["started", "content", "content", "started", "content"]
    assert said(events) == "Hello, world"


def test_a_lost_log_is_made_good_under_new_numbers(attempt: Attempt, client: redis.Redis) -> None:
    run = attempt()
    run.content("Hello, ", (1,))
    client.flushall()
    run.content("world", (2,))
    run.content("!", (3,))
    events = heard(run)
    assert [(event.seq, event.type) for event in events] == [(4, "reset"), (5, "content"), (6, "content")]
    assert said(events) == "Hello, world!"
    assert events[1].resume == "1 2"


def test_log_and_worker_lost_together(attempt: Attempt, client: redis.Redis) -> None:
    first = attempt()
    first.content("Hello")
    factories.put_back(first.id, event_seq=first.event_seq)
    client.flushall()
    second = attempt()
    assert second.text == ""
    second.content("Hello")
    assert [(event.seq, event.type) for event in heard(second)] == [(4, "reset"), (5, "started"), (6, "content")]


def test_a_call_without_an_answer_and_then_a_lost_log(attempt: Attempt, client: redis.Redis) -> None:
    """The listener may have heard what the writer believes unsaid: its numbers are not used again."""
    run = attempt()
    carried_out = run._log._append

    def times_out(**call: object) -> object:
        carried_out(**call)
        raise redis.TimeoutError

    run._log._append = times_out  # type: ignore[assignment]
    run.content("Hello, ")
    run._log._append = carried_out
    assert (run.event_seq, [event.seq for event in heard(run)]) == (2, [2, 3])
    client.flushall()
    run.content("world")
    assert heard(run)[0].seq > 3
    assert said(heard(run)) == "Hello, world"


def test_a_lost_lease_does_not_begin_the_log_anew(attempt: Attempt, client: redis.Redis) -> None:
    """The fence went with the log; the row still knows who may write."""
    zombie = attempt()
    zombie.content("Hello")
    factories.put_back(zombie.id, event_seq=zombie.event_seq)
    attempt()
    client.flushall()
    with pytest.raises(LeaseLost):
        zombie.content(" again")
    assert heard(zombie) == []


def test_flags_stop_a_task_between_two_steps(attempt: Attempt) -> None:
    run = attempt()
    run.check()
    assert not run.should_stop()
    run._stopping.set()
    with pytest.raises(Interrupted):
        run.check()
    run.cancel_requested.set()
    with pytest.raises(Cancelled):
        run.check()
    run.lease_lost.set()
    with pytest.raises(LeaseLost):
        run.check()
    assert run.should_stop()


def test_a_cancel_before_the_start_is_known(attempt: Attempt) -> None:
    run = attempt()
    factories.put_back(run.id)
    factories.change(run.id, cancel_requested=True)
    with pytest.raises(Cancelled):
        attempt().check()


def test_a_slice_of_a_lost_lease_writes_nothing(attempt: Attempt) -> None:
    run = attempt()
    with run.slice(checkpoint={"at": 1}):
        pass
    factories.put_back(run.id)
    attempt()
    with pytest.raises(LeaseLost), run.slice(checkpoint={"at": 2}):
        raise AssertionError("not reached")
    assert factories.load(run.id).checkpoint == {"at": 1}


def test_the_end_is_in_row_and_log_under_one_number(attempt: Attempt) -> None:
    run = attempt()
    run.content("Hello")
    run.end("succeeded", {"type": "done", "response": {"content": "Hello"}}, result={"content": "Hello"})
    row, last = factories.load(run.id), heard(run)[-1]
    assert (row.status, row.event_seq) == ("succeeded", 4)
    assert (last.type, last.seq) == ("done", 4)
    assert row.first_output_at is not None


def test_an_effect_that_fails_leaves_the_job_running(attempt: Attempt) -> None:
    run = attempt()

    def effect(_session: object) -> None:
        raise ValueError

    with pytest.raises(ValueError):
        run.end("succeeded", {"type": "done"}, effect)
    assert factories.load(run.id).status == "running"
    assert types(heard(run)) == ["started"]


def test_a_job_retried_before_its_end_was_logged(attempt: Attempt, client: redis.Redis) -> None:
    """Between row and log somebody was quick: the end of the first run is not logged, and nothing is raised."""
    run = attempt()

    def effect(_session: object) -> None:
        EventLog(client).try_append_end(run.id, 1, {"type": "queued"}, 4)

    assert run.end("failed", {"type": "error"}, effect) == []
    assert "error" not in types(heard(run))


# --- Redis away


@pytest.fixture
def own_redis() -> Iterator[tuple[str, Path]]:
    """A folder for a Redis of the test's own, and the URL it will have."""
    with tempfile.TemporaryDirectory(prefix="bc-run-") as folder:
        yield f"unix://{folder}/redis.sock", Path(folder)


def _impatient(url: str) -> EventLog:
    return EventLog(redis.Redis.from_url(url, socket_timeout=0.2, socket_connect_timeout=0.2))


def test_events_wait_for_a_redis_that_hangs(own_redis: tuple[str, Path]) -> None:
    """Calls time out and are carried out later all the same, in whatever order Redis reads its sockets."""
    url, folder = own_redis
    with servers.redis_server(folder) as (_, process):
        start = _attempts(_impatient(url))
        os.kill(process.pid, signal.SIGSTOP)
        run = start()
        for number in range(3):
            run.content(f"{number} ")
        assert run.event_seq == 1
        os.kill(process.pid, signal.SIGCONT)
        assert run.flush(10)
        run.content("3 ")
        events = heard(run)
        assert [event.seq for event in events] == [2, 3, 4, 5, 6]
        assert said(events) == "0 1 2 3 "


def test_events_wait_for_a_redis_that_was_restarted(own_redis: tuple[str, Path]) -> None:
    url, folder = own_redis
    with servers.redis_server(folder, append_only=True):
        run = _attempts(_impatient(url))()
        run.content("0 ")
    run.content("1 ")
    run.content("2 ")
    assert not run.flush(0)
    with servers.redis_server(folder, append_only=True):
        run.content("3 ")
        events = heard(run)
    assert [event.seq for event in events] == [2, 3, 4, 5, 6]
    assert said(events) == "0 1 2 3 "


def test_a_redis_that_comes_back_empty(own_redis: tuple[str, Path]) -> None:
    url, folder = own_redis
    with servers.redis_server(folder):
        run = _attempts(_impatient(url))()
        run.content("0 ")
    run.content("1 ")
    with servers.redis_server(folder):
        run.content("2 ")
        events = heard(run)
        assert types(events) == ["reset", "content"]
        assert events[0].seq > 3
        assert said(events) == "0 1 2 "


def test_a_job_ends_without_redis_and_its_row_says_so(
    own_redis: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.run.FLUSH_WAIT_S", 0.0)
    url, _ = own_redis
    run = _attempts(_impatient(url))()
    run.content("Hello")
    run.end("succeeded", {"type": "done", "response": None}, result={"content": "Hello"})
    assert (factories.load(run.id).status, factories.load(run.id).event_seq) == ("succeeded", 4)


def test_flush_gives_up_when_the_lease_is_lost(own_redis: tuple[str, Path]) -> None:
    url, _ = own_redis
    run = _attempts(_impatient(url))()
    run.lease_lost.set()
    assert not run.flush(600)


def test_no_two_streams_share_a_key(attempt: Attempt, client: redis.Redis) -> None:
    run = attempt()
    assert client.exists(stream_key(run.id)) == 1
    assert len(client.keys()) == 2
