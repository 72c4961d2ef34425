"""`backchannel user remove`: nothing of the person is left anywhere, and nothing of anybody else is touched."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result
from sqlalchemy import Table
from sqlmodel import select

from cli import accounts
from cli.main import cli
from config.queues import Kind
from config.settings import get_settings
from storage import answer_cache, blobs, conversations, drafts, files, gone, keys, summaries, usage, users
from storage.database import reading, transaction
from storage.events import EventLog, NewEvent
from storage.schema import metadata
from storage.tables import LOCAL_OWNER, User
from storage.vectors import VectorIndex
from tasks import all as _all  # noqa: F401 - registers the kinds
from tasks.embeddings import embed_leftovers
from tasks.run import JobRun
from tests import factories
from tests.tasks.conftest import hashing, held  # noqa: F401
from tests.tasks.embedding import embed
from workers.embedding.hashing import HashingEmbedder

pytestmark = pytest.mark.usefixtures("database", "held", "clean_redis")
SHARED, OWN = b"Everybody has this file.", b"Only one has this file."


def run(*args: str, input: str = "") -> Result:
    result = CliRunner().invoke(cli, list(args), input=input)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def person(name: str, role: str = "user") -> str:
    with transaction() as session:
        return users.add(session, name, role).id


def attach(owner_id: str, conversation_id: str, content: bytes) -> Path:
    digest, size = blobs.store(io.BytesIO(content), 10**6)
    with transaction() as session:
        row = conversations.get(session, conversation_id, owner_id, lock=True)
        file = files.add(session, row, filename="f.txt", file_size=size, file_type="text/plain", digest=digest)
        files.write(session, file.id, extracted_text=content.decode())
    kept = blobs.path(digest)
    an_age_ago = time.time() - 2 * accounts._UPLOAD_S
    os.utime(kept, (an_age_ago, an_age_ago))
    return kept


def filled(owner_id: str, conversations_count: int = 3) -> tuple[Path, Path]:
    """Something in every place that knows people; the paths of a file that others have too, and of one of their own."""
    for number in range(conversations_count):
        conversation_id = factories.conversation(owner_id, f"Talk {number}")
        factories.question(conversation_id, "Where do herons stand?", owner_id)
    with transaction() as session:
        row = conversations.get(session, conversation_id, owner_id, lock=True)
        drafts.add_version(session, row, "Marsh", "Herons stand in reeds.", by=owner_id)
        drafts.talk_of(session, row, owner_id)
        summaries.edit(session, row, "Of herons.")
        usage.add(session, owner_id, 3, 4)
        keys.make(session, owner_id, "theirs")
        users.set_current_conversation(session, owner_id, conversation_id)
    paths = attach(owner_id, conversation_id, SHARED), attach(owner_id, conversation_id, OWN + owner_id.encode())
    _, ticket = answer_cache.find(owner_id, "question")
    assert ticket is not None
    assert answer_cache.put(ticket, {"text": "herons"})
    ended = factories.running(owner_id=owner_id)
    _log(ended.id)
    factories.finish(ended.id)
    _log(factories.job(Kind.NOOP, owner_id))
    return paths


def _log(job_id: str) -> None:
    EventLog(_redis()).append(
        job_id, 1, [NewEvent({"type": "content", "content": "herons"}, "")], floor=1, mode="first"
    )


def _redis() -> Any:
    return redis.Redis.from_url(get_settings().redis)


def rows_naming(user_id: str) -> dict[str, int]:
    """Table → rows in which any column holds the id."""
    found: dict[str, int] = {}
    with reading() as session:
        tables: list[Table] = list(metadata.tables.values())
        for table in tables:
            rows = session.execute(select(*table.columns)).all()
            if number := sum(user_id in (str(value) for value in row) for row in rows):
                found[table.name] = number
    return found


def everything_in_redis() -> bytes:
    store = _redis()
    dumped = b""
    for key in store.scan_iter():
        kind = store.type(key)
        value = {b"hash": store.hgetall, b"zset": lambda key: store.zrange(key, 0, -1), b"stream": store.xrange}
        dumped += key + repr(value.get(kind, lambda _: "")(key)).encode()
    return dumped


@pytest.fixture
def index(hashing: HashingEmbedder) -> VectorIndex:  # noqa: F811
    return VectorIndex(f"{hashing.name}#1")


def test_nothing_of_the_person_is_left(index: VectorIndex) -> None:
    gone_id, stays_id = person("alice"), person("bob")
    shared, own = filled(gone_id)
    filled(stays_id)
    for owner_id in (gone_id, stays_id):
        embed(owner_id)
    before, vectors = rows_naming(stays_id), index.count()
    jobs = [job.id.encode() for job in factories.all_jobs() if job.owner_id == gone_id]
    assert any(job_id in everything_in_redis() for job_id in jobs)
    assert {"conversation", "api_key", "token_usage", "search_index", "file_attachment", "job"} <= set(before)

    result = run("user", "remove", "Alice", "--yes")
    assert result.exit_code == 0, result.output
    assert "Alice is removed, with 4 conversations, 2 files" in result.stdout

    with reading() as session:
        assert users.find(session, "alice") is None
        assert gone.owners(session) == [LOCAL_OWNER]
    assert rows_naming(gone_id) == {}
    left = everything_in_redis()
    assert gone_id.encode() not in left
    assert not any(job_id in left for job_id in jobs)
    assert (own.exists(), shared.exists()) == (False, True)
    embed(LOCAL_OWNER)
    assert index.count() == vectors // 2
    assert rows_naming(stays_id) == before
    with reading() as session:
        assert gone.owners(session) == []
    assert answer_cache.find(stays_id, "question")[0] == {"text": "herons"}


def test_it_asks_first_and_no_is_no(index: VectorIndex) -> None:
    filled(person("alice"))
    for answer in ("n\n", ""):
        result = run("user", "remove", "alice", input=answer)
        assert result.exit_code != 0
        assert "alice has 4 conversations, 2 files" in result.stderr
    with reading() as session:
        assert users.require(session, "alice").is_active
    assert run("user", "remove", "alice", input="y\n").exit_code == 0
    assert run("user", "remove", "alice", "--yes").exit_code != 0


def test_one_that_was_killed_goes_on(index: VectorIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it dies, the same command finishes the work."""
    from storage import removals

    alice = person("alice")
    filled(alice, 7)
    embed(alice)
    monkeypatch.setattr(removals, "CONVERSATIONS_AT_ONCE", 2)
    monkeypatch.setattr(removals, "JOBS_AT_ONCE", 1)
    monkeypatch.setattr(removals, "VECTORS_AT_ONCE", 3)

    class Killed(BaseException):
        pass

    deaths = 0
    for name in ("end_jobs", "drop_conversations", "finish"):
        for survived in range(3):
            step, calls = getattr(removals, name), [0]

            def dies(*args: Any, step: Any = step, calls: list[int] = calls, survived: int = survived) -> Any:
                calls[0] += 1
                if calls[0] > survived:
                    raise Killed
                return step(*args)

            with monkeypatch.context() as broken:
                broken.setattr(removals, name, dies)
                with pytest.raises(Killed):
                    run("user", "remove", "alice", "--yes")
            deaths += 1
            with reading() as session:
                assert not users.require(session, "alice").is_active, "nobody comes in meanwhile"
    assert deaths == 9
    assert run("user", "remove", "alice", "--yes").exit_code == 0
    assert rows_naming(alice) == {}
    embed(LOCAL_OWNER)
    assert index.count() == 0


def test_a_running_job_is_asked_to_stop_and_waited_for(monkeypatch: pytest.MonkeyPatch, index: VectorIndex) -> None:
    alice = person("alice")
    running = factories.running(owner_id=alice)
    monkeypatch.setattr(accounts, "JOBS_END_WITHIN_S", 0.0)
    result = run("user", "remove", "alice", "--yes")
    assert result.exit_code == 1
    assert "does not stop" in result.stderr
    assert factories.load(running.id).cancel_requested
    factories.finish(running.id, status="cancelled")
    assert run("user", "remove", "alice", "--yes").exit_code == 0


def test_the_job_of_a_dead_worker_holds_nothing_up(index: VectorIndex) -> None:
    alice = person("alice")
    running = factories.running(owner_id=alice)
    factories.change(running.id, lease_until=factories.ago(60))
    assert run("user", "remove", "alice", "--yes").exit_code == 0
    with pytest.raises(Exception, match=running.id), JobRun(running, EventLog(_redis()), _never()).slice():
        pass  # a worker that comes back writes nothing


def _never() -> Any:
    import threading

    return threading.Event()


def test_upkeep_has_the_vectors_removed(index: VectorIndex) -> None:
    alice = person("alice")
    filled(alice)
    embed(alice)
    run("user", "remove", "alice", "--yes")
    embed_leftovers()
    assert [job.owner_id for job in factories.all_jobs(Kind.EMBED) if job.status == "queued"] == [LOCAL_OWNER]


def test_the_only_admin_stays_and_the_first_one_may_go() -> None:
    first = person("ann", "admin")
    assert first == LOCAL_OWNER
    filled(first)
    assert "only admin" in run("user", "remove", "ann", "--yes").stderr
    second = person("eve", "admin")
    assert run("user", "remove", "ann", "--yes").exit_code == 0
    with reading() as session:
        owner = session.get(User, LOCAL_OWNER)
        assert owner is not None
        assert (owner.username, owner.is_active, owner.current_conversation_id) == (None, True, None)
        assert conversations.page(session, LOCAL_OWNER, limit=9, offset=0) == ([], 0)
        assert users.has_admin(session) or users.find(session, second)
    assert rows_naming(LOCAL_OWNER) == {"user": 1}
