"""A file's conversations become rows, each once, whatever happens on the way."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
import redis

from config.errors import Unavailable
from config.queues import Kind
from storage import blobs, conversations, imports, jobs
from storage.database import reading, transaction
from storage.events import EventLog
from storage.tables import LOCAL_OWNER, ImportItem, Job
from tasks import imports as task
from tasks.base import bury_or_put_back, run_job
from tasks.leases import Leases
from tests import factories
from tests.exports import JANUARY_2025 as JANUARY
from tests.exports import chatgpt_conversation, chatgpt_json, chatgpt_zip, some_conversations
from workers.importers import chatgpt
from workers.importers.ports import ImportItem as FoundItem

pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")


def submit(data: bytes, filename: str = "conversations.json", owner_id: str = LOCAL_OWNER) -> str:
    digest, _ = blobs.store(io.BytesIO(data), 100_000_000)
    return factories.job(Kind.IMPORT, owner_id, input={"blob": digest, "filename": filename})


def run(data: bytes, **options: str) -> Job:
    job_id = submit(data, **options)
    run_job(job_id)
    return factories.load(job_id)


def counts(job: Job) -> dict[str, int]:
    assert job.status == "succeeded", job.error
    assert job.result is not None
    return {status: number for status, number in job.result["conversations"].items() if number}


def ledger(job_id: str) -> list[ImportItem]:
    with reading() as session:
        rows, _ = imports.page(session, job_id, status=None, limit=10_000, offset=0)
    return rows


def texts() -> dict[str, list[str]]:
    """native id → the shown path, of everything that was imported"""
    return {row.native_id: factories.shown(row.id) for row in factories.all_conversations()}


# --- what becomes of a file


def test_an_export_becomes_conversations(clean_redis: str) -> None:
    job = run(chatgpt_json([chatgpt_conversation("a", "First"), chatgpt_conversation("b", "Second")]))
    assert counts(job) == {"created": 2}
    assert texts() == {"a": ["Hello?", "Hello."], "b": ["Hello?", "Hello."]}
    assert [row.title for row in factories.all_conversations()] == ["First", "Second"]
    assert [(row.item_index, row.status, row.native_id) for row in ledger(job.id)] == [
        (0, "created", "a"),
        (1, "created", "b"),
    ]
    assert job.progress is not None
    assert job.progress["done"] == job.progress["total"]
    types = [event.type for event in EventLog(redis.Redis.from_url(clean_redis)).read(job.id)]
    assert types == ["started", "item", "item", "progress", "done"]


@pytest.mark.parametrize("shards", [None, 3])
def test_zips_are_read_whole(shards: int | None) -> None:
    made = [chatgpt_conversation(f"c{number}") for number in range(7)]
    job = run(chatgpt_zip(made, shards), filename="export.zip")
    assert counts(job) == {"created": 7}
    assert [row.item_index for row in ledger(job.id)] == list(range(7))


def test_the_same_file_again_changes_nothing() -> None:
    data = chatgpt_json(some_conversations(5))
    assert counts(run(data)) == {"created": 5}
    before = texts()
    again = run(data)
    assert counts(again) == {"unchanged": 5}
    assert again.result is not None
    assert again.result["messages"] == 0
    assert texts() == before


def test_a_later_export_updates_and_appends() -> None:
    run(chatgpt_json([chatgpt_conversation("a"), chatgpt_conversation("b")]))
    longer = chatgpt_conversation("a", turns=[("user", "Hello?"), ("assistant", "Hello."), ("user", "And?")])
    job = run(chatgpt_json([longer, chatgpt_conversation("b"), chatgpt_conversation("c")]))
    assert counts(job) == {"created": 1, "updated": 1, "unchanged": 1}
    assert texts()["a"] == ["Hello?", "Hello.", "And?"]


def test_a_conversation_that_stands_twice_in_a_file_is_one() -> None:
    job = run(chatgpt_json([chatgpt_conversation("a"), chatgpt_conversation("a")]))
    assert counts(job) == {"created": 1, "unchanged": 1}
    assert len(factories.all_conversations()) == 1


def test_a_conversation_without_messages_is_skipped() -> None:
    full, empty = chatgpt_conversation("a"), chatgpt_conversation("b", "Nothing", turns=[])
    job = run(chatgpt_json([full, empty]))
    assert counts(job) == {"created": 1, "skipped": 1}
    (row,) = [row for row in ledger(job.id) if row.status == "skipped"]
    assert (row.item_index, row.title, row.native_id, row.conversation_id) == (1, "Nothing", "b", None)
    assert row.reason == "the conversation holds no messages"
    assert counts(run(chatgpt_json([chatgpt_conversation("a", turns=[])]))) == {"skipped": 1}
    assert texts() == {"a": ["Hello?", "Hello."]}, "what an emptied copy lacks is not taken from what is here"


def test_a_locked_conversation_is_skipped_until_it_is_unlocked() -> None:
    run(chatgpt_json([chatgpt_conversation("a", "Before")]))
    (conversation,) = factories.all_conversations()
    lock(conversation.id, True)
    longer = chatgpt_json([chatgpt_conversation("a", turns=[("user", "Hello?"), ("assistant", "Bye.")])])
    job = run(longer)
    assert counts(job) == {"skipped": 1}
    (row,) = ledger(job.id)
    assert (row.conversation_id, row.messages) == (conversation.id, 0)
    assert "locked" in (row.reason or "")
    assert texts() == {"a": ["Hello?", "Hello."]}
    assert counts(run(chatgpt_json([chatgpt_conversation("a", "Before")]))) == {"unchanged": 1}
    assert counts(run(chatgpt_json([chatgpt_conversation("a", "After")]))) == {"updated": 1}, "a title is no message"
    assert factories.all_conversations()[0].is_locked
    lock(conversation.id, False)
    assert counts(run(longer)) == {"updated": 1}
    assert texts() == {"a": ["Hello?", "Bye."]}


def test_an_older_export_takes_nothing_back() -> None:
    newer = chatgpt_json(
        [chatgpt_conversation("a", "After", [("user", "Hello?"), ("assistant", "Bye.")], JANUARY + 99)]
    )
    run(newer)
    job = run(chatgpt_json([chatgpt_conversation("a", "Before", [("user", "Hello?")], JANUARY)]))
    assert counts(job) == {"unchanged": 1}
    assert [row.reason for row in ledger(job.id)] == ["the file is older than what is here"]
    assert texts() == {"a": ["Hello?", "Bye."]}
    assert factories.all_conversations()[0].title == "After"
    assert counts(run(newer)) == {"unchanged": 1}


def lock(conversation_id: str, is_locked: bool) -> None:
    with transaction() as session:
        conversations.get(session, conversation_id, LOCAL_OWNER, lock=True).is_locked = is_locked


# --- what cannot be read


def test_what_cannot_be_read_is_told_and_the_rest_is_imported() -> None:
    job = run(chatgpt_json([chatgpt_conversation("a"), {"title": "no mapping"}, 17, chatgpt_conversation("b")]))
    assert counts(job) == {"created": 2, "failed": 2}
    failed = [row for row in ledger(job.id) if row.status == "failed"]
    assert [row.item_index for row in failed] == [1, 2]
    assert all(row.reason for row in failed)


@pytest.mark.parametrize(
    "data", [b"garbage", b"\x00" * 1000, b"PK\x03\x04 broken", b"{}", b"[]", b'[{"mapping": ', b"<html></html>"]
)
def test_a_file_that_is_no_export_fails_with_a_sentence(data: bytes) -> None:
    job = run(data, filename="../secret/path.bin")
    if job.status == "succeeded":  # an export without conversations is an export
        assert counts(job) in ({}, {"failed": 1})
        return
    assert job.status == "failed"
    assert job.error is not None
    assert job.error["code"] == "unreadable_import"
    assert not job.error["retryable"]
    assert job.error["message"].endswith(".")
    assert "secret" not in job.error["message"]
    assert factories.all_conversations() == []


def test_a_file_that_is_gone_says_so() -> None:
    job_id = factories.job(Kind.IMPORT, input={"blob": "a" * 64, "filename": "x"})
    run_job(job_id)
    job = factories.load(job_id)
    assert (job.status, job.error and job.error["code"]) == ("failed", "not_found")


def test_owners_have_their_own() -> None:
    other, data = factories.owner(), chatgpt_json([chatgpt_conversation("a")])
    assert counts(run(data)) == {"created": 1}
    assert counts(run(data, owner_id=other)) == {"created": 1}
    assert len(factories.all_conversations(other)) == 1


def test_an_import_asks_for_one_embedding() -> None:
    run(chatgpt_json(some_conversations(5)))
    assert len(factories.all_jobs(Kind.EMBED)) == 1
    job = factories.all_jobs(Kind.EMBED)[0]
    factories.change(job.id, status="succeeded")
    run(chatgpt_json(some_conversations(5)))
    assert len(factories.all_jobs(Kind.EMBED)) == 1, "nothing changed"


# --- stopped in the middle


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "SLICE_CONVERSATIONS", 4)


Interrupt = Callable[[int, Callable[[], None]], None]


@pytest.fixture
def after_reading(monkeypatch: pytest.MonkeyPatch) -> Iterator[Interrupt]:
    """Call something when that many items were read, once."""
    read = chatgpt.ChatGPTImporter.read

    def interrupt(count: int, call: Callable[[], None]) -> None:
        pending = [call]

        def interrupted(self: Any, file: Any, start: int = 0) -> Iterator[FoundItem]:
            for at, item in enumerate(read(self, file, start)):
                if at == count and pending:
                    pending.pop()()
                yield item

        monkeypatch.setattr(chatgpt.ChatGPTImporter, "read", interrupted)

    yield interrupt
    monkeypatch.undo()


class Killed(BaseException):
    """kill -9 as far as the job is concerned: nothing is caught, nothing is written."""


def assert_whole(job_id: str, count: int) -> None:
    job = factories.load(job_id)
    assert counts(job) == {"created": count}
    assert [row.item_index for row in ledger(job_id)] == list(range(count))
    assert len(factories.all_conversations()) == count


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("at", [0, 3, 4, 5, 9, 18])
def test_a_killed_import_goes_on_where_it_was(after_reading: Interrupt, at: int) -> None:
    def kill() -> None:
        raise Killed

    job_id = submit(chatgpt_json(some_conversations(19)))
    after_reading(at, kill)
    with pytest.raises(Killed):
        run_job(job_id)
    assert len(ledger(job_id)) == at // 4 * 4
    bury_or_put_back(factories.load(job_id))
    run_job(job_id)
    assert_whole(job_id, 19)
    assert factories.load(job_id).failures == 1


@pytest.mark.usefixtures("small_slices")
def test_a_stopped_worker_loses_nothing(after_reading: Interrupt, held: Leases) -> None:
    job_id = submit(chatgpt_json(some_conversations(10)))
    after_reading(6, held.stopping.set)
    run_job(job_id)
    assert factories.load(job_id).status == "queued"
    assert len(ledger(job_id)) == 4
    held.stopping.clear()
    run_job(job_id)
    assert_whole(job_id, 10)
    assert factories.load(job_id).failures == 0


@pytest.mark.usefixtures("small_slices")
def test_an_error_that_passes_is_tried_again(after_reading: Interrupt) -> None:
    def fail() -> None:
        raise Unavailable("for a moment")

    job_id = submit(chatgpt_json(some_conversations(10)))
    after_reading(6, fail)
    run_job(job_id)
    assert factories.load(job_id).status == "queued"
    factories.change(job_id, run_after=None)
    run_job(job_id)
    assert_whole(job_id, 10)


@pytest.mark.usefixtures("small_slices")
def test_a_cancelled_import_keeps_what_it_wrote_and_can_be_taken_up(after_reading: Interrupt, held: Leases) -> None:
    job_id = submit(chatgpt_json(some_conversations(10)))
    after_reading(6, lambda: held._cancel(job_id))
    run_job(job_id)
    assert factories.load(job_id).status == "cancelled"
    assert len(ledger(job_id)) == len(factories.all_conversations()) == 4
    with transaction() as session:
        jobs.replay(session, job_id, LOCAL_OWNER)
    run_job(job_id)
    assert_whole(job_id, 10)


@pytest.mark.usefixtures("small_slices")
def test_an_overtaken_import_writes_nothing_more(after_reading: Interrupt) -> None:
    """Paused past its lease in the middle of a slice; another worker has finished the job."""
    job_id = submit(chatgpt_json(some_conversations(10)))

    def overtaken() -> None:
        factories.put_back(job_id)
        run_job(job_id)

    after_reading(6, overtaken)
    run_job(job_id)
    assert_whole(job_id, 10)
    assert factories.load(job_id).attempt == 2


def test_bytes_and_messages_close_a_slice_too(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    record = imports.record

    def watched(session: Any, job_id: str, items: list[dict[str, Any]]) -> None:
        sizes.append(len(items))
        record(session, job_id, items)

    monkeypatch.setattr(imports, "record", watched)
    monkeypatch.setattr(task, "SLICE_MESSAGES", 5)
    run(chatgpt_json([chatgpt_conversation(f"a{number}") for number in range(4)]))
    monkeypatch.setattr(task, "SLICE_MESSAGES", 2000)
    monkeypatch.setattr(task, "SLICE_BYTES", 1)
    run(chatgpt_json([chatgpt_conversation(f"b{number}") for number in range(3)]))
    assert sizes == [3, 1, 1, 1, 1], "two messages each"


def test_events_of_a_big_import_are_bounded(monkeypatch: pytest.MonkeyPatch, clean_redis: str) -> None:
    monkeypatch.setattr(task, "ITEM_EVENTS", 3)
    made: list[Any] = [chatgpt_conversation(f"c{number}") for number in range(10)]
    made[7] = {"title": "broken"}
    job = run(chatgpt_json(made))
    found = [orjson.loads(event.json) for event in EventLog(redis.Redis.from_url(clean_redis)).read(job.id)]
    assert [body["item_index"] for body in found if body["type"] == "item"] == [0, 1, 2, 7]
    assert len(ledger(job.id)) == 10


# --- two at once


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_the_same_file_twice_at_once(database: str) -> None:
    data = chatgpt_json(some_conversations(30))
    first, second = submit(data), submit(data)
    factories.at_once(lambda: run_job(first), lambda: run_job(second))
    done = [counts(factories.load(job_id)) for job_id in (first, second)]
    assert sum(one.get("created", 0) for one in done) == 30
    assert sum(one.get("unchanged", 0) for one in done) == 30
    assert len(factories.all_conversations()) == 30


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_two_files_that_meet_crosswise(database: str) -> None:
    """The same conversations in opposite order: each holds what the other wants next."""
    made = some_conversations(40)
    first, second = submit(chatgpt_json(made)), submit(chatgpt_json(made[::-1]))
    factories.at_once(lambda: run_job(first), lambda: run_job(second))
    for job_id in (first, second):
        if factories.load(job_id).status == "queued":  # the database sacrificed one of them; it tries again
            factories.change(job_id, run_after=None)
            run_job(job_id)
        assert sum(counts(factories.load(job_id)).values()) == 40
    assert len(factories.all_conversations()) == 40


def test_results_are_plain_json() -> None:
    job = run(chatgpt_json([chatgpt_conversation("a")]))
    assert json.loads(json.dumps(job.result)) == {
        "conversations": {"created": 1, "updated": 0, "unchanged": 0, "skipped": 0, "failed": 0},
        "messages": job.result["messages"] if job.result else None,
    }
