"""Files in a bucket of a real small server."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest

from config.errors import ProviderRefused, Unavailable
from config.settings import reset_settings
from storage import object_store
from storage.object_store import disposition
from tests.standins.s3 import S3

KEY = "conversations/c/files/report 世.pdf"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


def test_without_a_bucket_files_stay(settings: pytest.MonkeyPatch) -> None:
    assert object_store.bucket() is None
    with pytest.raises(Unavailable):
        object_store.require_bucket()


def test_a_file_goes_and_comes_and_goes(bucket: S3, file: Path) -> None:
    store = object_store.require_bucket()
    assert object_store.bucket() is store
    store.put(KEY, file, "application/pdf")
    store.put(KEY, file, "application/pdf")
    assert bucket.objects == {KEY: b"content"}
    assert b"".join(store.read(KEY)) == b"content"
    with pytest.raises(ProviderRefused):
        next(store.read(f"{KEY}x"))
    url = store.url(KEY, "report 世.pdf", "application/pdf", 60)
    answer = httpx.get(url, trust_env=False, timeout=30)
    assert (answer.status_code, answer.content) == (200, b"content")
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-disposition"].startswith("attachment; ")
    store.delete(KEY)
    store.delete(KEY)
    assert bucket.objects == {}


def test_an_address_says_when_it_ends_and_for_what_it_is(bucket: S3) -> None:
    parts = urlsplit(object_store.require_bucket().url(KEY, "a.pdf", "application/pdf", 60))
    given = parse_qs(parts.query)
    assert (given["X-Amz-Expires"], len(given["X-Amz-Signature"][0])) == (["60"], 64)
    assert unquote(parts.path).endswith(KEY)
    assert "secret" not in parts.query


def test_a_bucket_that_is_not_there_refuses(bucket: S3, settings: pytest.MonkeyPatch, file: Path) -> None:
    settings.setenv("AWS_S3_BUCKET_NAME", "another-bucket")
    reset_settings()
    with pytest.raises(ProviderRefused, match="NoSuchBucket"):
        object_store.require_bucket().put(KEY, file, "text/plain")


def test_a_server_that_is_away_is_worth_another_try(settings: pytest.MonkeyPatch, file: Path) -> None:
    with socket.socket() as taken:  # bound and not listening: nobody else gets the port, and it refuses
        taken.bind(("127.0.0.1", 0))
        settings.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        settings.setenv("AWS_S3_BUCKET_NAME", "bucket")
        settings.setenv("AWS_ACCESS_KEY_ID", "id")
        settings.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        settings.setattr(object_store, "TRIES", 1)
        reset_settings()
        with pytest.raises(Unavailable) as caught:
            object_store.require_bucket().put(KEY, file, "text/plain")
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.pdf", "attachment; filename=\"a.pdf\"; filename*=UTF-8''a.pdf"),
        ('a"b\\c.txt', "attachment; filename=\"a_b_c.txt\"; filename*=UTF-8''a%22b%5Cc.txt"),
        ("grüß.txt", "attachment; filename=\"gr__.txt\"; filename*=UTF-8''gr%C3%BC%C3%9F.txt"),
        ("a;filename=b.exe", "attachment; filename=\"a;filename=b.exe\"; filename*=UTF-8''a%3Bfilename%3Db.exe"),
    ],
)
def test_any_name_is_one_header(name: str, header: str) -> None:
    assert disposition(name) == header
