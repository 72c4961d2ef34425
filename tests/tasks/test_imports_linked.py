"""Imports of share links: fetched once, read like an upload, and what went wrong is the job's error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from config.queues import Kind
from config.settings import reset_settings
from storage import conversations, jobs
from storage import imports as ledger
from storage.database import reading, transaction
from storage.tables import LOCAL_OWNER
from tasks import imports
from tasks.base import run_job
from tasks.run import Interrupted
from tests import factories
from tests.exports import chatgpt_conversation, chatgpt_json
from tests.standins.share_host import LINK, Page, share_host

pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")


@pytest.fixture
def page(settings: pytest.MonkeyPatch) -> Iterator[type[Page]]:
    with share_host() as (page, url):
        settings.setenv("CHATGPT_SHARE_URL", url)
        reset_settings()
        yield page


def imported(**given: Any) -> Any:
    job_id = factories.job(Kind.IMPORT, input={"url": LINK, **given})
    run_job(job_id)
    return factories.load(job_id)


def listed() -> list[tuple[str, str | None]]:
    with reading() as session:
        rows, _ = conversations.page(session, LOCAL_OWNER, limit=50, offset=0)
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


def test_a_page_without_a_readable_conversation_is_a_changed_format(page: type[Page]) -> None:
    """It is ChatGPT's, and empty: no success with nothing in it, however often it is tried."""
    data = orjson.dumps({"props": {"title": "Roses", "linear_conversation": []}}).decode()
    page.body = f'<title>chatgpt.com</title><script id="__NEXT_DATA__" type="application/json">{data}</script>'.encode()
    job_id = factories.job(Kind.IMPORT, input={"url": LINK})
    for _ in range(2):
        run_job(job_id)
        job = factories.load(job_id)
        assert job.error is not None
        assert (job.status, job.error["code"], job.error["retryable"]) == ("failed", "format_changed", False)
        assert "No conversation could be read" in job.error["message"]
        with reading() as session:
            items, total = ledger.page(session, job_id, status="failed", limit=10, offset=0)
        assert (total, items[0].title) == (1, "Roses")
        with transaction() as session:
            jobs.replay(session, job_id, LOCAL_OWNER)
    assert listed() == []


def test_a_page_that_holds_one_that_can_be_read_is_imported(page: type[Page]) -> None:
    page.body = chatgpt_json([{"title": "broken"}, chatgpt_conversation("c1", "Roses")])
    job = imported()
    assert job.status == "succeeded", job.error
    assert (job.result["conversations"]["created"], job.result["conversations"]["failed"]) == (1, 1)
