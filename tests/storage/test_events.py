"""The writing side of the event log: numbers without gap, calls that may be repeated, attempts that are shut out."""

from __future__ import annotations

import orjson
import pytest
import redis

from config.settings import reset_settings
from storage.events import (
    FIRST,
    NEXT,
    RESTART,
    EventLog,
    LogLost,
    NewEvent,
    StaleAttempt,
    channel,
    meta_key,
    parse_live,
    stream_key,
    terminal_fields,
)

JOB = "a-job"


@pytest.fixture
def client(clean_redis: str) -> redis.Redis:
    return redis.Redis.from_url(clean_redis)


@pytest.fixture
def log(client: redis.Redis) -> EventLog:
    return EventLog(client)


def events(*names: str) -> list[NewEvent]:
    """`status` events that are told apart by `name`."""
    return [NewEvent({"type": "status", "name": name}) for name in names]


def names(log: EventLog, after: int = 0) -> list[tuple[int, str]]:
    """(number, name) of what is in the log."""
    found = []
    for event in log.read(JOB, after):
        body = orjson.loads(event.json)
        assert (body["sequence_number"], body["job_id"], body["type"]) == (event.seq, JOB, event.type)
        found.append((event.seq, body.get("name", event.type)))
    return found


def test_numbers_begin_behind_the_implicit_first_event(log: EventLog) -> None:
    assert log.append(JOB, 1, events("a", "b"), floor=1, mode=FIRST) == 3
    assert log.append(JOB, 1, events("c"), floor=3) == 4
    assert names(log) == [(2, "a"), (3, "b"), (4, "c")]
    assert names(log, after=3) == [(4, "c")]
    assert log.last(JOB) == 4


def test_a_repeated_call_writes_nothing_twice(log: EventLog) -> None:
    """A call that timed out may have been carried out after all; the writer repeats it, perhaps with more behind."""
    log.append(JOB, 1, events("a"), floor=1, mode=FIRST)
    assert log.append(JOB, 1, events("b", "c"), floor=2) == 4
    assert log.append(JOB, 1, events("b", "c"), floor=2) == 4
    assert log.append(JOB, 1, events("b", "c", "d"), floor=2) == 5
    assert names(log) == [(2, "a"), (3, "b"), (4, "c"), (5, "d")]


def test_a_repeated_first_call_writes_nothing_twice_and_loses_nothing(log: EventLog) -> None:
    log.append(JOB, 1, events("a"), floor=1, mode=FIRST)
    assert log.append(JOB, 1, events("a", "b"), floor=1, mode=FIRST) == 3
    assert log.append(JOB, 2, events("c"), floor=2, mode=FIRST) == 4
    assert log.append(JOB, 2, events("c", "d"), floor=2, mode=FIRST) == 5
    assert names(log) == [(2, "a"), (3, "b"), (4, "c"), (5, "d")]


def test_a_new_attempt_continues_and_shuts_the_old_one_out(log: EventLog) -> None:
    log.append(JOB, 1, events("a", "b"), floor=1, mode=FIRST)
    # The row knows only what the last heartbeat saved: less than the log holds.
    assert log.append(JOB, 2, events("c"), floor=2, mode=FIRST) == 4
    with pytest.raises(StaleAttempt):
        log.append(JOB, 1, events("zombie"), floor=3)
    assert names(log) == [(2, "a"), (3, "b"), (4, "c")]


def test_a_lost_log_is_noticed(log: EventLog, client: redis.Redis) -> None:
    log.append(JOB, 1, events("a", "b"), floor=1, mode=FIRST)
    client.flushall()
    with pytest.raises(LogLost):
        log.append(JOB, 1, events("c"), floor=3)
    assert log.append(JOB, 1, events("reset", "c"), floor=3, mode=RESTART) == 5
    assert log.append(JOB, 1, events("reset", "c", "d"), floor=3, mode=RESTART) == 6
    assert log.append(JOB, 1, events("e"), floor=6) == 7
    assert names(log) == [(4, "reset"), (5, "c"), (6, "d"), (7, "e")]


def test_a_new_attempt_notices_a_lost_log(log: EventLog, client: redis.Redis) -> None:
    log.append(JOB, 1, events("a", "b"), floor=1, mode=FIRST)
    client.flushall()
    with pytest.raises(LogLost):
        log.append(JOB, 2, events("c"), floor=3, mode=FIRST)


def test_a_log_that_was_only_half_lost_counts_as_lost(log: EventLog, client: redis.Redis) -> None:
    """A Redis that came back from an older copy of its file."""
    log.append(JOB, 1, events("a", "b", "c"), floor=1, mode=FIRST)
    client.xtrim(stream_key(JOB), maxlen=0)
    client.xadd(stream_key(JOB), {"t": "status", "d": "{}", "r": ""}, id="5-0")
    client.hset(meta_key(JOB), "seq", 2)
    with pytest.raises(LogLost):
        log.append(JOB, 1, events("d"), floor=4)


def test_what_a_zombie_wrote_into_an_emptied_log_swallows_nothing(log: EventLog, client: redis.Redis) -> None:
    """The fence went with the log: the zombie begins anew, even beyond the numbers of the attempt that lives."""
    log.append(JOB, 1, events(*"abcdefgh"), floor=1, mode=FIRST)
    log.append(JOB, 2, events("i"), floor=9, mode=FIRST)
    client.flushall()
    assert log.append(JOB, 1, [NewEvent({"type": "reset"}), *events("z", "z")], floor=9, mode=RESTART) == 12
    with pytest.raises(LogLost):
        log.append(JOB, 2, events("j"), floor=10)
    again = [NewEvent({"type": "reset"}), *events("i", "j")]
    assert log.append(JOB, 2, again, floor=10, mode=RESTART) == 15
    assert log.append(JOB, 2, [*again, *events("k")], floor=10, mode=RESTART) == 16, (
        "repeated, it begins where it began"
    )
    assert names(log)[3:] == [(13, "reset"), (14, "i"), (15, "j"), (16, "k")]


def test_a_log_that_lacks_its_beginning_is_not_continued(log: EventLog, client: redis.Redis) -> None:
    """A cancelled job's end was written into an emptied log; retried, the job finds no text there to go on from."""
    log.append(JOB, 1, events("a", "b"), floor=1, mode=FIRST)
    client.flushall()
    log.try_append_end(JOB, 1, {"type": "cancelled"}, 4)
    log.try_append_end(JOB, 1, {"type": "queued"}, 5)
    assert names(log) == [(4, "cancelled"), (5, "queued")]
    with pytest.raises(LogLost):
        log.append(JOB, 2, events("c"), floor=5, mode=FIRST)
    log.append(JOB, 2, [NewEvent({"type": "reset"})], floor=5, mode=RESTART)
    log.append(JOB, 2, events("c"), floor=6)
    assert names(log)[2:] == [(6, "reset"), (7, "c")]


def test_an_end_without_an_attempt(log: EventLog) -> None:
    log.try_append_end(JOB, 0, {"type": "cancelled"}, 2)
    log.try_append_end(JOB, 0, {"type": "cancelled"}, 2)
    assert names(log) == [(2, "cancelled")]
    log.try_append_end(JOB, 0, {"type": "queued"}, 3)
    assert log.append(JOB, 1, events("a"), floor=3, mode=FIRST) == 4
    assert names(log) == [(2, "cancelled"), (3, "queued"), (4, "a")]


def test_an_end_goes_behind_what_the_row_does_not_know(log: EventLog) -> None:
    """A write that timed out was carried out after all, and its worker gave up: the row's number is taken."""
    log.append(JOB, 1, events("a", "b", "c"), floor=1, mode=FIRST)
    log.try_append_end(JOB, 1, {"type": "cancelled"}, 3)
    log.try_append_end(JOB, 1, {"type": "cancelled"}, 3)
    assert names(log) == [(2, "a"), (3, "b"), (4, "c"), (5, "cancelled")]


def test_an_end_that_the_worker_wrote_is_not_written_again(log: EventLog) -> None:
    log.append(JOB, 1, [*events("a"), NewEvent({"type": "cancelled"})], floor=1, mode=FIRST)
    log.try_append_end(JOB, 1, {"type": "cancelled"}, 3)
    assert names(log) == [(2, "a"), (3, "cancelled")]


def test_an_end_of_an_earlier_attempt_is_refused_quietly(log: EventLog) -> None:
    log.append(JOB, 2, events("a"), floor=1, mode=FIRST)
    log.try_append_end(JOB, 1, {"type": "cancelled"}, 3)
    assert names(log) == [(2, "a")]


def test_an_attempt_can_be_shut_out(log: EventLog) -> None:
    log.append(JOB, 1, events("a"), floor=1, mode=FIRST)
    assert log.shut_out(JOB, 1) == 2
    with pytest.raises(StaleAttempt):
        log.append(JOB, 1, events("zombie"), floor=2)
    assert log.append(JOB, 2, events("b"), floor=2, mode=FIRST) == 3
    with pytest.raises(StaleAttempt):
        log.shut_out(JOB, 1)
    assert log.shut_out("unknown", 1) == 0


def test_ends_never_raise(settings: pytest.MonkeyPatch) -> None:
    away = redis.Redis.from_url("unix:///nowhere/redis.sock")
    EventLog(away).try_append_end(JOB, 1, {"type": "cancelled"}, 2)
    with pytest.raises(redis.RedisError):
        EventLog(away).append(JOB, 1, events("a"), floor=1, mode=FIRST)


def test_events_are_published_as_they_are_written(log: EventLog, client: redis.Redis) -> None:
    with client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(channel(JOB))
        assert pubsub.get_message(timeout=5) is None, "the confirmation"
        log.append(JOB, 1, [NewEvent({"type": "content", "content": "é"}, resume="1 2")], floor=1, mode=FIRST)
        message = pubsub.get_message(timeout=5)
    assert message is not None
    live, (stored,) = parse_live(message["data"]), log.read(JOB)
    assert (live.seq, live.type, live.json) == (stored.seq, stored.type, stored.json)
    assert (live.resume, stored.resume) == ("", "1 2"), "what belongs to the next attempt is not sent to clients"
    assert orjson.loads(live.json)["content"] == "é"


def test_a_full_log_keeps_what_matters(log: EventLog, settings: pytest.MonkeyPatch) -> None:
    settings.setenv("EVENT_LOG_MAX", "100")
    reset_settings()
    last = log.append(JOB, 1, events(*map(str, range(150))), floor=1, mode=FIRST)
    assert last == 100
    mixed = [
        *events("dropped"),
        NewEvent({"type": "content", "content": "x"}),
        *events("dropped"),
        NewEvent({"type": "done"}),
    ]
    assert log.append(JOB, 1, mixed, floor=last) == 102
    assert log.append(JOB, 1, mixed, floor=last) == 102
    assert [name for _, name in names(log, after=100)] == ["content", "done"]


def test_logs_expire_after_their_last_event(log: EventLog, client: redis.Redis, settings: pytest.MonkeyPatch) -> None:
    settings.setenv("EVENT_LOG_HOURS", "2")
    reset_settings()
    log.append(JOB, 1, events("a"), floor=1, mode=FIRST)
    for key in (stream_key(JOB), meta_key(JOB)):
        assert 7190 <= client.ttl(key) <= 7200
        client.expire(key, 5)
    log.append(JOB, 1, events("b"), floor=2, mode=NEXT)
    assert client.ttl(stream_key(JOB)) > 7190


def test_delete(log: EventLog, client: redis.Redis) -> None:
    log.append(JOB, 1, events("a"), floor=1, mode=FIRST)
    log.delete([])
    log.delete([JOB, "another"])
    assert client.keys() == []


def test_terminal_fields_follow_the_status() -> None:
    assert terminal_fields("succeeded", {"a": 1}, None) == {"type": "done", "response": {"a": 1}}
    error = {"code": "x", "message": "y", "retryable": False}
    assert terminal_fields("failed", None, error) == {"type": "error", **error}
    assert terminal_fields("cancelled", None, None) == {"type": "cancelled"}
    assert terminal_fields("running", None, None) is None
