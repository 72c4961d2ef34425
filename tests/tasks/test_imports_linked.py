"""Imports of share links: fetched once, read like an upload, and what went wrong is the job's error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from config.queues import Kind
from config.settings import reset_settings
from storage import conversations
from storage.database import reading
from storage.tables import LOCAL_OWNER
from tasks import imports
from tasks.base import run_job
from tasks.run import Interrupted
from tests import factories
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
