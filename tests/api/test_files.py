"""Files over the API: taken or refused by what they are, fetched by addresses that expire."""

from __future__ import annotations

import re
from concurrent.futures import Future
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar
from litestar.testing import TestClient

from api import files as api
from config.queues import Kind
from config.settings import MIB, get_settings
from storage import blobs
from tests import documents, factories
from tests.api.conftest import Listening, Start
from tests.api.helpers import Json, faithh_problem, job_ids, newest_job, problem, work
from tests.api.test_fuzz import check, many
from tests.standins.s3 import S3

Client = TestClient[Litestar]
PATH = "/api/conversations"
ARCHIVE = b"PK\x03\x04" + bytes(100)


def bring(client: httpx.Client, content: bytes, name: str = "a.txt", media: str | None = None, **more: Any) -> Any:
    """Into a conversation of its own unless told."""
    conversation_id = more.pop("into", None) or factories.conversation()
    file = (name, content) if media is None else (name, content, media)
    return client.post(f"{PATH}/{conversation_id}/files", files={"file": file}, **more)


def brought(client: httpx.Client, content: bytes = b"text", name: str = "a.txt", **more: Any) -> Json:
    response = bring(client, content, name, **more)
    assert response.status_code == 201, response.text
    return response.json()


def fetch(client: Client, file: Json, accept: str = "*/*") -> httpx.Response:
    return client.get(file["links"]["download"], headers={"accept": accept}, follow_redirects=False)


def stored() -> list[str]:
    return [file.name for file in (get_settings().data_dir / "blobs").rglob("*") if file.is_file()]


# --- bringing


def test_a_file_is_taken_and_read(client: Client) -> None:
    conversation_id = factories.conversation()
    response = bring(client, documents.pdf("Tomatoes need sun"), "plan.pdf", into=conversation_id)
    body = response.json()
    assert response.headers["location"] == body["links"]["self"] == f"{PATH}/files/{body['id']}"
    assert (body["filename"], body["file_type"], body["conversation_id"]) == (
        "plan.pdf", "application/pdf", conversation_id,
    )  # fmt: skip
    assert (body["processed"], body["has_text"], body["job_id"]) == (False, False, job_ids("extract")[0])
    assert client.get(f"{PATH}/{conversation_id}").json()["has_attachments"] is True
    work(body["job_id"])
    read = client.get(body["links"]["self"]).json()
    assert (read["processed"], read["has_text"], read["problem"]) == (True, True, None)
    assert read["extracted_text"] == "Tomatoes need sun"
    listed = client.get(f"{PATH}/{conversation_id}/files").json()
    assert {name: listed[name] for name in ("total", "limit", "offset")} == {"total": 1, "limit": 50, "offset": 0}
    assert "extracted_text" not in listed["files"][0]
    assert listed["files"][0]["id"] == body["id"]


def test_whoever_waits_gets_what_was_read(live: Listening, meanwhile: Any) -> None:
    waiting: Future[Any] = meanwhile(bring, live.client, b"text", headers={"prefer": "wait=20"})
    work(newest_job("extract"))
    response = waiting.result()
    assert (response.status_code, response.json()["has_text"]) == (200, True)


def test_whoever_does_not_gets_the_job(client: Client) -> None:
    response = bring(client, b"text", headers={"prefer": "respond-async"})
    assert (response.status_code, response.json()["kind"]) == (202, "extract")


def test_the_same_bytes_twice_are_two_files_and_one_blob(client: Client) -> None:
    first, second = brought(client), brought(client, name="b.txt")
    assert first["id"] != second["id"]
    assert len(stored()) == 1
    assert client.delete(first["links"]["self"]).status_code == 204
    assert client.get(fetch(client, second).headers["location"]).content == b"text"


def test_the_same_key_is_the_same_file(client: Client) -> None:
    conversation_id = factories.conversation()
    key = {"idempotency-key": "k"}
    first = brought(client, into=conversation_id, headers=key)
    assert brought(client, into=conversation_id, headers=key)["id"] == first["id"]
    problem(bring(client, b"other", into=conversation_id, headers=key), 422)
    assert client.get(f"{PATH}/{conversation_id}/files").json()["total"] == 1


@pytest.mark.parametrize(
    ("content", "name", "status"),
    [
        (ARCHIVE, "picture.png", 415),
        (b"\x7fELF" + bytes(100), "a.txt", 415),
        (documents.png(), "a.jpg", 415),
        (documents.GIF, "a.js", 415),
        (b"<html/>", "a.svg", 415),
        (b"", "a.txt", 422),
        (b"x" * (MIB + 1), "a.txt", 413),
    ],
)
def test_what_is_refused_leaves_nothing(start: Start, content: bytes, name: str, status: int) -> None:
    client = start(MAX_FILE_MB="1")
    conversation_id = factories.conversation()
    problem(bring(client, content, name, into=conversation_id), status)
    assert (stored(), job_ids()) == ([], [])
    assert client.get(f"{PATH}/{conversation_id}/files").json()["total"] == 0
    assert client.get(f"{PATH}/{conversation_id}").json()["has_attachments"] is False


def test_a_megabyte_is_a_megabyte(start: Start) -> None:
    assert brought(start(MAX_FILE_MB="1"), b"x" * MIB)["file_size"] == MIB


def test_a_body_beyond_all_bounds_is_not_read(start: Start) -> None:
    problem(bring(start(MAX_FILE_MB="1"), b"x" * (3 * MIB)), 413)


def test_a_declaration_that_says_otherwise_is_refused(client: Client) -> None:
    problem(bring(client, documents.png(), "a.png", "application/pdf"), 415)
    problem(bring(client, b"text", "a", "image/png"), 415)
    assert brought(client, b"text", "a", media="application/octet-stream")["file_type"] == "text/plain"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\a\\b.txt", "b.txt"),
        ("x" * 500 + ".txt", "x" * 196 + ".txt"),
        ("世界 \U0001f600.txt", "世界 \U0001f600.txt"),
        ('a"b;c.txt', 'a"b;c.txt'),
        ("gnp\u202etxt.txt", "gnp txt.txt"),
    ],
)
def test_names_are_shown_and_never_opened(client: Client, given: str, kept: str) -> None:
    file = brought(client, name=given)
    assert file["filename"] == kept
    answer = client.get(fetch(client, file).headers["location"])
    assert answer.content == b"text"
    assert re.fullmatch(r"attachment; filename=\"[ -~]*\"; filename\*=UTF-8''[\w%.~-]*", header(answer))


def header(answer: httpx.Response) -> str:
    return answer.headers["content-disposition"]


def test_other_forms_are_422(client: Client) -> None:
    path = f"{PATH}/{factories.conversation()}/files"
    file = ("a.txt", b"text")
    for files in ([("file", file), ("file", file)], [("other", file)], [("file", file), ("more", (None, b"x"))]):
        problem(client.post(path, files=files), 422)
    problem(client.post(path, data={"file": "text"}, files={"x": file}), 422)
    problem(client.post(path, json={"file": "text"}), 415)
    assert job_ids() == []


def test_others_have_no_place_for_it(client: Client) -> None:
    theirs = factories.conversation(factories.owner())
    problem(bring(client, b"text", into=theirs), 404)
    problem(client.get(f"{PATH}/{theirs}/files"), 404)


@many
@given(body=st.binary(max_size=60) | st.binary(max_size=60).map(lambda inner: b"--a\r\n" + inner + b"\r\n--a--\r\n"))
def test_any_bytes(client: Client, body: bytes) -> None:
    check(client.post("/api/upload", content=body, headers={"content-type": "multipart/form-data; boundary=a"}))


# --- removing


def test_a_removed_file_is_gone(client: Client) -> None:
    conversation_id = factories.conversation()
    file = brought(client, into=conversation_id)
    address = fetch(client, file).headers["location"]
    assert client.delete(file["links"]["self"]).status_code == 204
    assert factories.statuses([file["job_id"]]) == ["cancelled"]
    for method, path in (("GET", file["links"]["self"]), ("DELETE", file["links"]["self"]), ("GET", address)):
        problem(client.request(method, path), 404)
    problem(fetch(client, file), 404)
    assert client.get(f"{PATH}/{conversation_id}").json()["has_attachments"] is False


# --- fetching


def test_a_download_leads_to_a_signed_address(client: Client) -> None:
    file = brought(client, "Grüße".encode(), "grüß.txt")
    response = fetch(client, file, "text/html,application/xhtml+xml,*/*;q=0.8")
    assert response.status_code == 307
    assert response.headers["cache-control"] == "private, no-store"
    answer = client.get(response.headers["location"])
    assert (answer.status_code, answer.content.decode()) == (200, "Grüße")
    assert header(answer) == "attachment; filename=\"gr__.txt\"; filename*=UTF-8''gr%C3%BC%C3%9F.txt"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["content-type"].startswith("text/plain")
    assert len(answer.headers.get_list("content-disposition")) == 1


def test_programs_get_the_address_as_json(client: Client) -> None:
    body = fetch(client, brought(client), "application/json").json()
    assert body.keys() == {"url", "expires_at"}
    assert client.get(body["url"]).content == b"text"


def test_a_drawing_is_no_page(client: Client) -> None:
    answer = client.get(fetch(client, brought(client, documents.SVG, "a.svg")).headers["location"])
    assert answer.headers["content-type"] == "application/octet-stream"
    assert header(answer).startswith("attachment")


def test_an_address_is_for_its_file_until_it_expires(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, other = brought(client), brought(client, b"other")
    address = fetch(client, mine).headers["location"]
    parts = urlsplit(address)
    problem(client.get(f"/api/files/{other['id']}?{parts.query}"), 403)
    problem(client.get(re.sub(r"expires=\d", "expires=9", address)), 403)
    problem(client.get(address[:-1] + ("0" if address[-1] != "0" else "1")), 403)
    problem(client.get(parts.path), 422)
    problem(client.get(f"{parts.path}?expires=x&signature=y"), 422)
    later = api.time.time() + get_settings().file_url_s + 1
    monkeypatch.setattr(api.time, "time", lambda: later)
    assert "expired" in problem(client.get(address), 403)["detail"]


def test_whoever_has_the_address_needs_no_sign_in(start: Start) -> None:
    file = brought(client := start())
    address = fetch(client, file).headers["location"]
    stranger = start(AUTH_MODE="required")
    assert stranger.get(address).content == b"text"
    problem(stranger.get(address + "0"), 403)
    problem(fetch(stranger, file), 401)


def test_a_blob_that_is_lost_is_told(client: Client) -> None:
    file = brought(client)
    blobs.path(digest_of(file)).unlink()
    problem(client.get(fetch(client, file).headers["location"]), 404)


def digest_of(file: Json) -> str:
    from storage import files
    from storage.database import reading
    from storage.tables import LOCAL_OWNER

    with reading() as session:
        return files.get(session, file["id"], LOCAL_OWNER).digest


def test_a_file_in_the_bucket_is_fetched_there(bucket: S3, start: Start) -> None:
    client = start()
    file = brought(client, documents.pdf("x"), "plan.pdf")
    before = fetch(client, file).headers["location"]
    assert before.startswith("/api/files/")
    work(file["job_id"])
    answer = fetch(client, file, "application/json").json()["url"]
    assert answer.startswith(bucket.url)
    got = httpx.get(answer, trust_env=False, timeout=30)
    assert got.content == documents.pdf("x")
    assert header(got).startswith("attachment")
    moved = client.get(before, follow_redirects=False)
    assert moved.status_code == 307
    assert moved.headers["location"].startswith(bucket.url)


def test_a_bucket_that_is_not_configured_any_more(bucket: S3, start: Start) -> None:
    client = start()
    file = brought(client)
    work(file["job_id"])
    problem(fetch(start(AWS_S3_BUCKET_NAME=""), file), 503)


# --- FAITHH


def test_an_upload_belongs_to_the_current_session(client: Client) -> None:
    response = client.post("/api/upload", files={"file": ("notes.md", b"# Notes")})
    body = response.json()
    assert (response.status_code, body["success"], body["filename"], body["size"]) == (200, True, "notes.md", 7)
    assert body["file"]["conversation_id"] == body["session_id"]
    later = {"prefer": "respond-async"}
    asked = client.post("/api/chat", json={"message": "What do the notes say?"}, headers=later).json()
    assert asked["conversation_id"] == body["session_id"]


def test_an_upload_may_name_its_session(client: Client) -> None:
    conversation_id = factories.conversation()
    send = {"files": {"file": ("notes.md", b"# Notes")}, "data": {"session_id": conversation_id}}
    assert client.post("/api/upload", **send).json()["session_id"] == conversation_id
    send["data"] = {"session_id": "x"}
    faithh_problem(client.post("/api/upload", **send), 404)


def test_what_faithh_may_not_upload(client: Client) -> None:
    faithh_problem(client.post("/api/upload", files={"file": ("a.png", ARCHIVE)}), 415)
    faithh_problem(client.post("/api/upload", files={"file": ("a.txt", b"")}), 422)
    faithh_problem(client.post("/api/upload"), 422)
    assert [job.kind for job in factories.all_jobs(Kind.EXTRACT)] == []
