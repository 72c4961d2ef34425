"""/api/imports: an upload becomes a job; the ledger says what became of it."""

from __future__ import annotations

import os

import httpx
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from storage import blobs
from tests import exports, factories
from tests.api.conftest import Listening, Start
from tests.api.helpers import Json, job_ids, problem, work

Client = TestClient[Litestar]


def form(client: Client, body: bytes, content_type: str = "multipart/form-data; boundary=a") -> httpx.Response:
    return client.post("/api/imports", content=body, headers={"content-type": content_type})


def part(disposition: str, content: bytes = b"{}", *headers: str) -> bytes:
    lines = [f"Content-Disposition: form-data; {disposition}", *headers, ""]
    return b"--a\r\n" + "\r\n".join(lines).encode() + b"\r\n" + content + b"\r\n--a--\r\n"


def stored() -> Json:
    return factories.load(job_ids("import")[0]).input


def test_an_upload_becomes_a_job(client: Client) -> None:
    response = client.post("/api/imports", files={"file": ("conversations.json", b"[1]")})
    job = response.json()
    assert (response.status_code, job["kind"], job["status"]) == (202, "import", "queued")
    assert response.headers["location"] == f"/api/jobs/{job['id']}"
    assert stored()["filename"] == "conversations.json"
    assert blobs.path(stored()["blob"]).read_bytes() == b"[1]"


def test_what_was_uploaded_can_be_imported_again(client: Client) -> None:
    client.post("/api/imports", files={"file": ("a.json", b"[1]")})
    again = client.post("/api/jobs", json={"kind": "import", "input": {"blob": stored()["blob"]}})
    assert again.status_code == 202
    problem(client.post("/api/jobs", json={"kind": "import", "input": {"blob": "0" * 64}}), 404)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("C:\\Users\\me\\chats.zip", "chats.zip"),
        ("gespräche \U0001f600.json", "gespräche \U0001f600.json"),
        ('a"b;c.json', 'a"b;c.json'),
        ("a\r\nb.json", "ab.json"),
        ("..", ".."),
        ("x" * 1000, "x" * 500),
    ],
)
def test_a_file_name_is_shown_and_never_opened(client: Client, given: str, kept: str) -> None:
    before = os.listdir(".")  # noqa: PTH208
    assert client.post("/api/imports", files={"file": (given, b"[]")}).status_code == 202
    assert stored()["filename"].replace("%0D%0A", "") == kept
    assert os.listdir(".") == before  # noqa: PTH208
    assert stored().keys() == {"blob", "filename"}


def test_other_forms_are_422(client: Client) -> None:
    file = ("a.json", b"[]")
    for files in (
        {"file": ("a.json", b"")},
        {"other": file},
        [("file", file), ("file", file)],
        [("file", file), ("other", file)],
        [("file", file), ("name", (None, "value"))],
        {"file": (None, "text")},
    ):
        problem(client.post("/api/imports", files=files), 422)  # type: ignore[arg-type]
    assert job_ids() == []


def test_a_share_link_becomes_a_job(client: Client) -> None:
    link = "https://chatgpt.com/share/68a1b2c3-d4e5-6789-abcd-ef0123456789"
    body = client.post("/api/imports", json={"url": f"{link}/?utm=1"})
    assert body.status_code == 202
    assert stored() == {"url": link}


@pytest.mark.parametrize(
    "body",
    [
        {"url": "https://example.org/a.zip"},
        {"url": "http://127.0.0.1/share/x"},
        {"url": 7},
        {"blob": "0" * 64},
        {},
        [],
        {"url": "https://chatgpt.com/s/abcd", "more": 1},
    ],
)
def test_other_links_are_refused(client: Client, body: object) -> None:
    assert problem(client.post("/api/imports", json=body), 422)["code"] == "unprocessable"


def test_other_media_are_415(client: Client) -> None:
    for content_type in ("application/zip", "application/octet-stream", "application/x-www-form-urlencoded", ""):
        assert "multipart/form-data" in problem(form(client, b"PK", content_type), 415)["detail"]


def test_broken_forms_are_400(client: Client) -> None:
    for body in (
        b"nonsense",
        b"--a\r\n",
        b"--a--\r\n--a",
        part('name="file"; filename="a"')[:-8],
        part('filename="a"'),
        part('name="file"', b"\xff\xfe"),
        part('name="file"', b"x", "Content-Type: text/plain; charset=nope"),
        b"--a\r\n" + b"x" * 100_000,
        b"--a\r\nContent-Disposition: nonsense\r\n\r\nx\r\n--a--\r\n",
    ):
        response = form(client, body)
        assert response.status_code in (400, 422), body
        problem(response, response.status_code)
    for content_type in ("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\xe9"):
        response = client.post("/api/imports", content=b"x", headers={b"content-type": content_type.encode("latin-1")})  # type: ignore[arg-type]
        assert response.status_code in (400, 422), content_type
    problem(client.post("/api/imports"), 422)
    assert job_ids() == []


def test_an_upload_may_ask_for_summaries(client: Client) -> None:
    export = exports.chatgpt_json([exports.chatgpt_conversation(word, word) for word in ("One", "Two")])
    file = {"file": ("conversations.json", export)}
    wish = {"accept_summarization": "true", "model": "extractive"}
    work(client.post("/api/imports", files=file, data=wish).json()["id"])
    assert len(job_ids("summarize")) == 2
    for bad in ({"accept_summarization": "perhaps"}, {"model": "x" * 201}, {"blob": "0" * 64}, {"more": "1"}):
        problem(client.post("/api/imports", files=file, data=bad), 422)
    assert len(job_ids("import")) == 1


def test_many_parts_are_refused(client: Client) -> None:
    body = b"".join(part(f'name="f{at}"', b"x")[:-7] + b"\r\n" for at in range(1200)) + b"--a--\r\n"
    assert form(client, body).status_code in (400, 413, 422)


def test_an_upload_beyond_the_limit_is_413_and_leaves_nothing(start: Start) -> None:
    client = start(MAX_UPLOAD_MB="1")
    for size in (1024 * 1024 + 1, 3 * 1024 * 1024):
        problem(client.post("/api/imports", files={"file": ("a.zip", bytes(size))}), 413)
    assert client.post("/api/imports", files={"file": ("a.zip", bytes(1024 * 1024))}).status_code == 202
    kept = [file for file in (blobs.path(stored()["blob"]).parents[1]).rglob("*") if file.is_file()]
    assert len(kept) == 1
    assert len(job_ids()) == 1


def test_an_upload_may_be_larger_than_json(start: Start) -> None:
    client = start(MAX_BODY_MB="1")
    assert client.post("/api/imports", files={"file": ("a.zip", bytes(2 * 1024 * 1024))}).status_code == 202


def test_a_client_that_leaves_in_the_middle_leaves_no_job(live: Listening) -> None:
    import socket

    head = b"POST /api/imports HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
    with socket.create_connection(("127.0.0.1", live.port)) as connection:
        connection.sendall(head + b"Content-Type: multipart/form-data; boundary=a\r\n\r\n" + part('name="file"')[:-8])
    assert live.client.get("/health").status_code == 200
    assert job_ids() == []


def test_the_ledger_tells_what_became_of_each(client: Client) -> None:
    export = exports.chatgpt_json([exports.chatgpt_conversation(word, word) for word in ("One", "Two")])
    job_id = client.post("/api/imports", files={"file": ("conversations.json", export)}).json()["id"]
    work(job_id)
    job = client.get(f"/api/jobs/{job_id}").json()
    assert job["status"] == "succeeded", job["error"]
    assert job["result"]["conversations"] == {"created": 2, "updated": 0, "unchanged": 0, "skipped": 0, "failed": 0}
    page = client.get(f"/api/imports/{job_id}/items").json()
    assert [(item["item_index"], item["status"], item["title"]) for item in page["items"]] == [
        (0, "created", "One"),
        (1, "created", "Two"),
    ]
    assert (page["total"], page["limit"], page["offset"]) == (2, 100, 0)
    second = client.get(f"/api/imports/{job_id}/items?limit=1&offset=1").json()
    assert [item["title"] for item in second["items"]] == ["Two"]
    assert client.get(f"/api/imports/{job_id}/items?status=failed").json()["items"] == []
    shown = client.get(f"/api/conversations/{page['items'][0]['conversation_id']}").json()
    assert shown["title"] == "One"
    assert shown["messages"]
    tree = client.get(f"/api/conversations/{shown['id']}?tree=true").json()
    assert len(tree["messages"]) >= len(shown["messages"])
    listed = client.get("/api/conversations?limit=1").json()
    assert (listed["total"], len(listed["conversations"])) == (2, 1)
    assert client.get("/api/conversations?source=nope").json()["total"] == 0
