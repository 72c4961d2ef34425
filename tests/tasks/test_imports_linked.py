"""Imports of share links: fetched once, read like an upload, and what went wrong is the job's error."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from config.queues import Kind
from config.settings import reset_settings
from storage import conversations
from storage.database import reading
from storage.tables import LOCAL_OWNER
from tasks import imports
from tasks.base import run_job
from tasks.run import Interrupted
from tests import exports, factories

pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")
LINK = "https://chatgpt.com/share/68a1b2c3-d4e5-6789-abcd-ef0123456789"


class Page(http.server.BaseHTTPRequestHandler):
    status: ClassVar[int] = 200
    body: ClassVar[bytes] = b""
    asked: ClassVar[int] = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def page(settings: pytest.MonkeyPatch) -> Iterator[type[Page]]:
    Page.status, Page.asked = 200, 0
    Page.body = exports.chatgpt_json([exports.chatgpt_conversation("c1", "Roses")])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    settings.setenv("CHATGPT_SHARE_URL", f"http://127.0.0.1:{server.server_port}")
    reset_settings()
    yield Page
    server.shutdown()
    server.server_close()


def imported(**given: Any) -> Any:
    job_id = factories.job(Kind.IMPORT, input={"url": LINK, **given})
    run_job(job_id)
    return factories.load(job_id)


def listed() -> list[tuple[str, str | None]]:
    with reading() as session:
        rows, _ = conversations.page(session, LOCAL_OWNER, source=None, limit=50, offset=0)
        return [(row.title, row.url) for row in rows]


def test_a_link_becomes_a_conversation_that_remembers_it(page: type[Page]) -> None:
    job = imported()
    assert job.status == "succeeded", job.error
    assert job.result["conversations"]["created"] == 1
    assert listed() == [("Roses", LINK)]


def test_the_same_link_again_updates_or_is_put_beside(page: type[Page]) -> None:
    imported()
    assert imported().result["conversations"]["unchanged"] == 1
    assert imported(duplicates="create_new").result["conversations"]["created"] == 1
    assert listed() == [("Roses", LINK)] * 2


def test_another_attempt_reads_what_the_first_one_fetched(page: type[Page], monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = factories.job(Kind.IMPORT, input={"url": LINK})

    def killed(*_: object) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(imports, "_read_into_rows", killed)
        run_job(job_id)
    page.status = 404
    run_job(job_id)
    assert factories.load(job_id).status == "succeeded"
    assert (page.asked, listed()) == (1, [("Roses", LINK)])


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (404, b"", "chat_not_found"),
        (403, b"no", "blocked"),
        (200, b"<title>Just a moment...</title>", "blocked"),
        (200, b"{}", "format_changed"),
        (200, b"", "format_changed"),
    ],
)
def test_what_went_wrong_is_the_jobs_error(page: type[Page], status: int, body: bytes, code: str) -> None:
    page.status, page.body = status, body
    job = imported()
    assert (job.status, job.error["code"]) == ("failed", code)
    assert listed() == []
