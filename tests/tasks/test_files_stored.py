"""A file goes to the bucket, and leaves it when it is deleted; over a real server."""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import Any

import pytest

from config.queues import Kind
from config.settings import reset_settings
from storage import conversations, files, gone
from storage.database import reading, transaction
from storage.tables import LOCAL_OWNER, utcnow
from tasks import files as task
from tasks import upkeep
from tasks.base import run_job
from tests import factories
from tests.standins.s3 import S3
from tests.tasks.extracting import Killed, brought, load, remove, worked

pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")


def test_a_file_goes_to_the_bucket(bucket: S3) -> None:
    conversation_id = factories.conversation()
    file_id, job_id = brought(b"text", "notes.txt", conversation_id)
    assert worked(job_id)["stored"] == "s3"
    key = f"conversations/{conversation_id}/files/notes.txt"
    assert bucket.objects == {key: b"text"}
    assert load(file_id).s3_key == key
    with reading() as session:
        assert gone.objects(session, 10) == []
        assert files.digests_on_disk(session) == set()


def test_files_of_one_name_lie_beside_each_other(bucket: S3) -> None:
    conversation_id = factories.conversation()
    worked(brought(b"first", "a.txt", conversation_id)[1])
    second, job_id = brought(b"second", "a.txt", conversation_id)
    worked(job_id)
    folder = f"conversations/{conversation_id}/files"
    assert bucket.objects == {f"{folder}/a.txt": b"first", f"{folder}/{second}-a.txt": b"second"}


def test_a_deleted_file_leaves_the_bucket(bucket: S3) -> None:
    file_id, job_id = brought(b"text", "a.txt")
    worked(job_id)
    remove(file_id)
    assert len(bucket.objects) == 1
    upkeep.purge()
    assert bucket.objects == {}
    with reading() as session:
        assert gone.objects(session, 10) == []


def test_files_of_a_deleted_conversation_leave_the_bucket(bucket: S3) -> None:
    conversation_id = factories.conversation()
    for name in ("a.txt", "b.txt"):
        worked(brought(name.encode(), name, conversation_id)[1])
    with transaction() as session:
        conversations.remove(session, conversation_id, LOCAL_OWNER)
    assert task.remove_gone_objects() == 2
    assert bucket.objects == {}


def test_a_bucket_that_is_away_loses_nothing(bucket: S3, settings: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        settings.setattr("storage.object_store.TRIES", 1)
        settings.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        reset_settings()
        file_id, job_id = brought(b"text", "a.txt")
        run_job(job_id)
        job = factories.load(job_id)
        assert (job.status, (job.error or {})["retryable"]) == ("queued", True)
        assert (load(file_id).extracted_text, load(file_id).s3_key) == ("text", None)
        assert task.remove_gone_objects() == 0
    settings.setenv("AWS_ENDPOINT_URL", bucket.url)
    reset_settings()
    factories.change(job_id, run_after=None)
    assert worked(job_id)["stored"] == "s3"
    assert [key.rpartition("/")[2] for key in bucket.objects] == ["a.txt"]


def test_what_was_brought_before_there_was_a_bucket_goes_there(
    settings: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    file_id, job_id = brought(b"text", "a.txt")
    waiting, _ = brought(b"not read yet", "b.txt")
    worked(job_id)
    upkeep.purge()
    assert len(factories.all_jobs(Kind.EXTRACT)) == 2, "there is no bucket"
    bucket: S3 = request.getfixturevalue("bucket")
    upkeep.purge()
    upkeep.purge()
    *_, job = factories.all_jobs(Kind.EXTRACT)
    assert len(factories.all_jobs(Kind.EXTRACT)) == 3
    assert worked(job.id)["stored"] == "s3"
    assert (load(file_id).extracted_text, load(waiting).s3_key) == ("text", None)
    assert list(bucket.objects.values()) == [b"text"]


def test_a_worker_that_dies_behind_the_write_leaves_nothing(bucket: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    file_id, job_id = brought(b"text", "a.txt")
    put = task.Bucket.put

    def killed(*given: Any) -> None:
        put(*given)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(task.Bucket, "put", killed)
        with pytest.raises(Killed):
            run_job(job_id)
    assert len(bucket.objects) == 1
    assert task.remove_gone_objects() == 0, "it may still be written"
    remove(file_id)
    monkeypatch.setattr(task, "utcnow", lambda: utcnow() + timedelta(hours=2))
    monkeypatch.setattr(gone, "utcnow", lambda: utcnow() + timedelta(hours=2))
    assert task.remove_gone_objects() == 1
    assert bucket.objects == {}


def test_a_file_that_is_deleted_while_it_is_stored(bucket: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    file_id, job_id = brought(b"text", "a.txt")
    put = task.Bucket.put

    def meanwhile(*given: Any) -> None:
        put(*given)
        remove(file_id)

    monkeypatch.setattr(task.Bucket, "put", meanwhile)
    run_job(job_id)
    assert factories.load(job_id).status == "succeeded"
    assert task.remove_gone_objects() == 1
    assert bucket.objects == {}


def test_a_write_that_took_too_long_is_done_again(bucket: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    file_id, job_id = brought(b"text", "a.txt")
    put = task.Bucket.put

    def slow(*given: Any) -> None:
        put(*given)
        with transaction() as session:
            gone.keep_object(session, given[1])

    with monkeypatch.context() as patched:
        patched.setattr(task.Bucket, "put", slow)
        run_job(job_id)
    assert (factories.load(job_id).status, load(file_id).s3_key) == ("queued", None)
    factories.change(job_id, run_after=None)
    worked(job_id)
    assert load(file_id).s3_key in bucket.objects
